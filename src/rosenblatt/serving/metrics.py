"""Metrics of a server, in the format of Prometheus."""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16_384, 65_536)


class Metrics:
    """Counters and histograms of one server; `n_in_flight` is the number of requests that are being answered."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "rosenblatt_requests", "Requests, by model and status.", ["model", "status"], registry=registry
        )
        self.seconds = Histogram(
            "rosenblatt_request_seconds", "Time from the first byte of a request to the last of its answer.", ["model"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.rows = Counter("rosenblatt_rows", "Rows predicted.", ["model"], registry=registry)
        self.batch_requests = Histogram(
            "rosenblatt_batch_requests", "Requests of a batch.", ["model"], buckets=SIZES, registry=registry
        )
        self.batch_rows = Histogram(
            "rosenblatt_batch_rows", "Rows of a batch.", ["model"], buckets=SIZES, registry=registry
        )
        self.reloads = Counter(
            "rosenblatt_reloads", "Changed model files that were loaded or refused.", ["model", "result"],
            registry=registry,
        )  # fmt: skip
        self._children = cache(self._make_children)
        self.n_in_flight = 0
        in_flight = Gauge("rosenblatt_requests_in_flight", "Requests that are being answered.", registry=registry)
        in_flight.set_function(lambda: self.n_in_flight)

    def record(self, model: str, status: int, seconds: float) -> None:
        """Count a request and its time."""
        requests, times = self._children(model, status)
        requests.inc()
        times.observe(seconds)

    def _make_children(self, model: str, status: int) -> tuple[Counter, Histogram]:
        """The metrics of a model and status, whose labels take longer to look up than to count."""
        return self.requests.labels(model, str(status)), self.seconds.labels(model)

    def to_text(self) -> bytes:
        """All metrics, as Prometheus reads them."""
        return generate_latest(self._registry)
