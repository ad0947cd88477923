"""The dynamic layer: a two-tower that learns without stopping, its index and its bundles.

The folders, in the order in which data flows; a folder imports only those before it (`make check`):

- `items`, `examples`, `counts`: what is known of items, of events, and by counting alone;
- `head`, `towers`, `index`, `popularity`: what scores an item for a user;
- `bundles`, `lists`: all of it in one published folder, and the lists that are made of one;
- `training`, `measure`, `serving`: what makes bundles, asks about them, and answers with them.

Other packages find what they need here, and the rest in the folders' modules.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
