"""Measurements of speed, each with the command that repeats it."""
