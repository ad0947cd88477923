"""Shared parts of a worker's agents: partitions, waiting users, metrics, traces."""
