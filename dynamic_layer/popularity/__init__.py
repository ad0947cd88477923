"""Recent demand: counted, merged from partitions, decayed, and fitted beside affinity."""
