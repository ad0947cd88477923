"""Every figure of quality on real data, by one command: `python -m benchmarks.quality`."""
