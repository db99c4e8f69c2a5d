"""Counters of a server, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

__all__ = ["Metrics"]


class Metrics:
    """Counters, each ``praxiscope_…``."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "praxiscope_requests", "Requests by status.", ["status"], registry=self._registry
        )
        self.jobs = Counter(
            "praxiscope_jobs", "Jobs by kind and end.", ["kind", "end"], registry=self._registry
        )
        self.seconds = Histogram(
            "praxiscope_job_seconds",
            "Seconds from the arrival of a job to its end.",
            ["kind"],
            registry=self._registry,
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800),
        )
        self.uploaded = Counter("praxiscope_uploaded_bytes", "Bytes of uploads.", registry=self._registry)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Add a gauge that is read when it is asked for."""
        Gauge(f"praxiscope_{name}", about, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """The text of ``/metrics``."""
        return generate_latest(self._registry)
