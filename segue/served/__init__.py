"""Measures what users get: a data set through the running product, lists from the topic."""
