"""A canary from its first users to its last ones: two trainers and workers as processes."""
