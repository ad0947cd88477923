"""Bundles between trainer and workers: announced, fetched, and served by channel."""
