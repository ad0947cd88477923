"""The trainer that never stops: which examples are next, steps, checkpoints."""
