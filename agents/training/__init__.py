"""What the trainer's agent rests on: its rhythm, its measure, its canaries."""
