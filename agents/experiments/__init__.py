"""Which users are in which arm, and what becomes of a canary."""
