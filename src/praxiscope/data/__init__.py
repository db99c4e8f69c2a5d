"""Data sets: lists of labelled videos, their splits, and what feeds them to a model."""
