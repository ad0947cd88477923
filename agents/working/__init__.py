"""What a worker's agents share: partitions, who waits, tallies, traces."""
