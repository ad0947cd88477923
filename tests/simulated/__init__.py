"""Nights in a simulated system: a seed draws what happens; the morning is as the log says."""
