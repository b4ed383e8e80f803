"""Whether the worker in this container polls: exit code 0, or 1 with the reason. Only the standard library, to be quick.

It reads the worker's own metrics and never asks the Temporal server: a server that is away is no reason to restart workers.
"""

import os
import sys
import urllib.request

POLLERS = "temporal_num_pollers"
LIMIT_BYTES = 16 * 1024 * 1024
TIMEOUT_S = 4.0


def main() -> int:
    host, _, port = os.environ.get("PERFWRIGHT_METRICS", "127.0.0.1:9464").rpartition(":")
    if not port.isdigit():
        return _unhealthy("PERFWRIGHT_METRICS names no port: the health check reads the worker's metrics")
    address = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104  (only compared: that worker answers on loopback as well)
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/metrics", timeout=TIMEOUT_S) as answer:
            text = answer.read(LIMIT_BYTES).decode(errors="replace")
    except OSError as error:
        return _unhealthy(f"the metrics on {address}:{port} do not answer: {error}")
    samples = [line for line in text.splitlines() if line.startswith(POLLERS + "{")]
    if not any(float(line.rpartition(" ")[2]) > 0 for line in samples):
        return _unhealthy("the worker polls no task queue")
    return 0


def _unhealthy(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
