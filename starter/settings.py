"""Environment variables that Perfwright's own programs read. Which Temporal server to use is not here: see `starter/connection.py`."""

LOG_LEVEL = "PERFWRIGHT_LOG_LEVEL"
"""DEBUG, INFO (default), WARNING or ERROR."""

LOG_FORMAT = "PERFWRIGHT_LOG_FORMAT"
"""`json` or `text`; without it text on a terminal, JSON elsewhere."""

METRICS = "PERFWRIGHT_METRICS"
"""HOST:PORT of the worker's Prometheus endpoint (port 0: a free one), or `off`; default 127.0.0.1:9464."""

MAX_CACHED_WORKFLOWS = "PERFWRIGHT_MAX_CACHED_WORKFLOWS"
"""Runs that a worker keeps in memory between two tasks; default 1000, about 200 KiB each."""

SHUTDOWN_GRACE_S = "PERFWRIGHT_SHUTDOWN_GRACE_S"
"""How long running steps may go on after SIGTERM before they are cancelled and handed on; default 10."""

ALLOW_INLINE_TARGETS = "PERFWRIGHT_ALLOW_INLINE_TARGETS"
"""`1`: a process may be started on a target that no registry names. `perfwright up` sets it for the worker on its own machine."""

SERVE_LOCAL = "PERFWRIGHT_SERVE_LOCAL"
"""`0`: a worker without `--host` takes no steps of host `local`, the host of targets that name none. So in deployments, where several such
workers run on machines that are not the targets'; default 1."""

REGISTRY = "PERFWRIGHT_CONFIG"
"""Path of the target registry; default `perfwright.toml` in the working directory."""
