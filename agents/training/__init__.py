"""Parts of the trainer's agent: schedule, prequential measurement, canaries."""
