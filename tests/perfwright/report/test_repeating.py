"""The command that measures again is the same everywhere, and starts what was asked for."""

import json

import pytest

from perfwright.models.cpu_profiling import CpuProfilingRequest
from perfwright.report.repeating import start_again

REQUESTS = (
    {"target": "shop", "duration_s": 40.0, "passes": ["on_cpu", "wall"], "min_samples": 20, "goal_share": 0.2},
    {"target": {"process": {"port": 8700}}, "rate_hz": 49},
    {"target": {"process": {"command": ["python3", "-c", "print('END')"]}}, "workload": {"command": ["make", "load"]}},
)


@pytest.mark.parametrize("asked", REQUESTS)
def test_every_field_is_repeated(asked: dict[str, object]) -> None:
    """Inline targets, passes, workloads and every other field come back from the command as they went in."""
    request = CpuProfilingRequest.model_validate_json(json.dumps(asked))
    command, *lines = start_again("CpuProfilingInvestigation", request.model_dump(mode="json")).splitlines()
    assert command == "perfwright start CpuProfilingInvestigation --input - <<'END'"
    assert lines.index("END") == len(lines) - 1
    assert CpuProfilingRequest.model_validate_json("\n".join(lines[:-1])) == request
