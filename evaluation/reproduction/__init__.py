"""The papers' models, tables and claims, on the simulated world and on real data."""
