"""The same job as others would write it."""
