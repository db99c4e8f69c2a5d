"""Requests of clients, by what they are about. Each file has a ``router``."""
