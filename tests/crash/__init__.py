"""Crash safety, measured: faults drawn by a seed on a real broker, then everything is compared."""
