"""Histories as they are kept here: `<workflow type>/<branch>.json.gz`, with nothing in them that tells of the machine they were recorded on."""

import base64
import getpass
import gzip
import json
import platform
import re
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from temporalio.client import WorkflowHistory

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]

TEMPORARY = re.compile(r"/tmp/[\w.-]+")
"""Folders of the lab, which names them anew each time."""

Json = Any


def files() -> list[Path]:
    return sorted(FOLDER.glob("*/*.json.gz"))


def branch_of(file: Path) -> str:
    return file.name.removesuffix(".json.gz")


def read(file: Path) -> Json:
    """Its workflow id and its events, as `WorkflowHistory.to_json_dict` tells them."""
    return json.loads(gzip.decompress(file.read_bytes()))


def load(file: Path) -> WorkflowHistory:
    kept = read(file)
    return WorkflowHistory.from_json(kept["workflowId"], {"events": kept["events"]})


def save(history: WorkflowHistory, type_name: str, branch: str, neutral: Mapping[str, str]) -> Path:
    """Write it without what `neutral` maps to other words; the same history gives the same bytes."""
    events = without(history.to_json_dict()["events"], neutral)
    text = json.dumps({"workflowId": history.workflow_id, "events": events}, indent=1, sort_keys=True)
    file = FOLDER / type_name / f"{branch}.json.gz"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(gzip.compress(text.encode(), mtime=0))
    return file


def of_this_machine(site: Path) -> dict[str, str]:
    """What must not be kept, and what stands for it: paths, names, and the description of the machine.

    Only what workflow code carries from one place to another unread may be replaced, or the history no longer replays.
    """
    words = {
        str(site): "/srv/perfwright",
        str(ROOT): "/opt/perfwright",
        sys.prefix: "/opt/perfwright/.venv",
        sys.base_prefix: "/usr",
        str(Path.home()): "/srv",
        platform.release(): "6.1.0",
        cpu_model(): "Example CPU",
        f'"user":"{getpass.getuser()}"': '"user":"shop"',
        socket.gethostname(): "workstation",
    }
    return {word: words[word] for word in sorted(words, key=len, reverse=True) if len(word) > 2}


def cpu_model() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found.group(1).strip() if found else platform.processor()


def without(value: Json, neutral: Mapping[str, str]) -> Json:
    """The same JSON with words replaced, in payloads too; stack traces, which name source files, are left out."""
    if isinstance(value, str):
        for word, instead in neutral.items():
            value = value.replace(word, instead)
        return TEMPORARY.sub("/srv/temporary", value)
    if isinstance(value, list):
        return [without(one, neutral) for one in value]
    if not isinstance(value, dict):
        return value
    if "data" in value and "metadata" in value:
        text = without(base64.b64decode(value["data"]).decode(), neutral)
        return value | {"data": base64.b64encode(text.encode()).decode()}
    return {name: without(one, neutral) for name, one in value.items() if name != "stackTrace"}


def payloads(value: Json) -> Iterator[bytes]:
    """The content of every payload of a history."""
    if isinstance(value, list):
        for one in value:
            yield from payloads(one)
    elif isinstance(value, dict) and "data" in value and "metadata" in value:
        yield base64.b64decode(value["data"])
    elif isinstance(value, dict):
        for one in value.values():
            yield from payloads(one)
