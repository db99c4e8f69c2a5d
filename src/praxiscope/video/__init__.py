"""Pixels in: reading, sampling, transforming and packing videos."""
