"""What is published: towers, item vectors, index, head and weights in one folder."""
