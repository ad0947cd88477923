"""The demo: the complete system on one machine, from an empty log to live answers."""
