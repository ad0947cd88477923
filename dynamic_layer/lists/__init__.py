"""A bundle's lists by its head, made the same way for training and for serving."""
