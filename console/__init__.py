"""Console: the HTTP API and the web page, on a replica of the workers' states."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
