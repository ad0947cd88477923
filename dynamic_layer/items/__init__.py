"""What is known of items: features that towers read, static vectors, vectors by row."""
