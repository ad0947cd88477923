"""Runs the agents: on Kafka, on the embedded log, or in a replay."""
