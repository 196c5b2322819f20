"""What Prometheus can ask this process. Names follow Prometheus' conventions; labels are bounded."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import Counter, Gauge, Histogram

from enterprise_gateway.errors import GatewayError, StartFailed

REQUESTS = Counter("enterprise_gateway_http_requests_total", "Requests answered", ["route", "method", "status"])
REQUEST_SECONDS = Histogram(
    "enterprise_gateway_http_request_seconds",
    "Seconds to answer a request, websockets by the time they were open",
    ["route"],
    buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
)
WEBSOCKETS = Gauge("enterprise_gateway_websockets", "Open websockets to kernels that this process carries")
KERNELS = Gauge("enterprise_gateway_kernels", "Kernels as the backends see them", ["phase"])
RELAYED = Counter("enterprise_gateway_relayed_bytes_total", "Bytes relayed on websockets", ["direction"])
STARTS = Counter("enterprise_gateway_kernel_starts_total", "Kernel starts", ["outcome"])
START_SECONDS = Histogram(
    "enterprise_gateway_kernel_start_seconds",
    "Seconds from a start request to its answer",
    buckets=(0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60),
)


@contextlib.contextmanager
def counted_start() -> Iterator[None]:
    """Count a start by its outcome: `answered`, `failed` or `refused`; of the last nothing was begun."""
    began = time.perf_counter()
    outcome = "failed"
    try:
        yield
        outcome = "answered"
    except StartFailed:
        raise
    except GatewayError:
        outcome = "refused"
        raise
    finally:
        STARTS.labels(outcome).inc()
        if outcome == "answered":
            START_SECONDS.observe(time.perf_counter() - began)
