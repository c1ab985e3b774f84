# SPDX-License-Identifier: Apache-2.0
"""`/metrics`, for Prometheus. Labels are routes, methods and statuses, never what was sent."""

from collections.abc import Iterator
from typing import Any

from omnigen import extras
from omnigen.serve.api.call import Call, Reply
from omnigen.serve.contract import Engine

_BUCKETS = (0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 20, 40, 80, 160, 320)
# What the engine counts: name, which is a field of `Statistics`, kind and text.
_ENGINE = (
    ("rows", "gauge", "Pictures that are drawn at a time"),
    ("busy", "gauge", "Rows that draw"),
    ("queued", "gauge", "Pictures that wait"),
    ("room", "gauge", "Pictures that may wait"),
    ("seconds", "gauge", "Median seconds of recent pictures"),
    ("silent_s", "gauge", "Seconds since the running step began"),
    ("drawn", "counter", "Pictures that were drawn"),
    ("cancelled", "counter", "Pictures that nobody wanted any more"),
    ("failed", "counter", "Pictures that could not be drawn"),
    ("refused", "counter", "Pictures for which the queue had no room"),
    ("late", "counter", "Pictures that missed their deadlines"),
)


class Metrics:
    """Counts of requests, and what the engine counts."""

    def __init__(self, engine: Engine) -> None:
        """Makes a registry of its own, so that several servers can live in one process."""
        self._client: Any = extras.load("prometheus_client", "serve", "/metrics")
        self._engine = engine
        self._registry = self._client.CollectorRegistry()
        labels, routes = ("route", "method", "status"), ("route",)
        names: dict[str, Any] = {"registry": self._registry, "namespace": "omnigen"}
        self._requests = self._client.Counter("requests", "Requests answered", labels, **names)
        self._seconds = self._client.Histogram(
            "request_seconds", "Seconds until the answer ended", routes, buckets=_BUCKETS, **names
        )
        self._client.ProcessCollector(registry=self._registry)
        self._registry.register(self)

    def collect(self) -> Iterator[Any]:
        """Yields what the engine counts, for the registry."""
        core, now = self._client.metrics_core, self._engine.statistics()
        for name, kind, text in _ENGINE:
            is_gauge = kind == "gauge"
            family = core.GaugeMetricFamily if is_gauge else core.CounterMetricFamily
            yield family(f"omnigen_engine_{name}", text, value=float(getattr(now, name)))

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Counts a request.

        Args:
            route: Path of the route, with names for what varies.
            method: HTTP method.
            status: HTTP status; 499 if the client left.
            seconds: How long it took.
        """
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    async def show(self, call: Call) -> Reply:
        """Answers with all counts, as text."""
        text = self._client.generate_latest(self._registry)
        return Reply(text, media_type="text/plain; version=0.0.4; charset=utf-8")
