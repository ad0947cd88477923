"""The agents as they run: on Kafka, around the embedded log, over a log again."""
