"""The command that starts a process again exactly as it was asked for."""

import json
from collections.abc import Mapping


def start_again(process: str, request: Mapping[str, object]) -> str:
    """`perfwright start CpuProfilingInvestigation --input - <<'END'`, with every field of the request (as JSON data) and `END` below it."""
    return f"perfwright start {process} --input - <<'END'\n{json.dumps(request, indent=2)}\nEND"
