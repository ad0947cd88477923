"""Bundles between trainer and workers: announced, fetched, served by channel."""
