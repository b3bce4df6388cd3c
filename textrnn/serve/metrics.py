"""What the server measures, in the format of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from textrnn.serve.served import Models

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)


class Metrics:
    """Counters and histograms of one server."""

    def __init__(self, models: Models) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "textrnn_requests", "Requests by path and status.", ("path", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "textrnn_request_seconds",
            "Time to the end of an answer.",
            ("path",),
            registry=self._registry,
            buckets=SECONDS,
        )
        self.first_text = Histogram(
            "textrnn_first_text_seconds",
            "Time from a request to the first text of its answer.",
            registry=self._registry,
            buckets=SECONDS,
        )
        self._registry.register(_OfModels(models))

    def text(self) -> bytes:
        """Return all of it."""
        return generate_latest(self._registry)


class _OfModels(Collector):
    """What is read from the models when it is asked for."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def collect(self) -> Iterator[Metric]:
        tokens = CounterMetricFamily("textrnn_generated_tokens", "Generated tokens.", labels=("model",))
        running = GaugeMetricFamily("textrnn_streams", "Texts being generated.", labels=("model",))
        waiting = GaugeMetricFamily("textrnn_waiting", "Texts and requests that wait.", labels=("model",))
        for served in self._models.all() if self._models.is_loaded else []:
            count = served.waiting
            if served.scheduler:
                tokens.add_metric((served.name,), served.scheduler.generated)
                running.add_metric((served.name,), served.scheduler.running)
                count += served.scheduler.admitted - served.scheduler.running
            waiting.add_metric((served.name,), max(0, count))
        yield from (tokens, running, waiting)
