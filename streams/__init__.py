"""Streams: topics, records, codecs, Kafka administration and security, the embedded log.

What the other packages use of it. Names are imported on first use, because Kafka's clients and
numpy take a second to import and `segue --help` needs neither. The transport for Faust and the
development broker are imported from their own modules, because few need them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
