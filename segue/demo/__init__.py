"""The demo: the whole system on one machine, from an empty log to live answers."""
