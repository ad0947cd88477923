"""What a partition remembers: histories, windowed co-interactions, checkpoints; artifacts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
