"""The static layer: text vectors, item-item graph, HGNN; one vector space for all item types."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
