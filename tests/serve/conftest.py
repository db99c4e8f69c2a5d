"""Fixtures of the server."""

from servers import clip, minute, network, server, start

__all__ = ["clip", "minute", "network", "server", "start"]
