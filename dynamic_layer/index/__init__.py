"""Nearest-neighbour search over the item vectors, exact or by lists, with items that came since."""
