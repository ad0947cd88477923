"""Mutation testing: whether the tests see small faults in the code that promises most."""
