"""The wheel in a new environment of each supported Python, outside a clone."""
