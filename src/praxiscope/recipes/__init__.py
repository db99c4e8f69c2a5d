"""Whole experiments: each function wires the parts for one purpose. The command line only calls these."""
