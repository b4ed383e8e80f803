"""A worker that records once and can be killed: `python -m tests.activities.recording_worker FOLDER MODULE:CLASS.METHOD REQUEST_FILE`."""

import asyncio
import importlib
import sys
from pathlib import Path

from perfwright.models.cpu_profiling import StackRecording
from perfwright.models.cpu_steps import UseSampling
from tests.activities.recordings import Bench


def main() -> None:
    folder, name, file = sys.argv[1:]
    module, _, method = name.partition(":")
    cls, _, method = method.partition(".")
    text = Path(file).read_text()
    request = (UseSampling if method == "sample_threads" else StackRecording).model_validate_json(text)
    result = asyncio.run(Bench(Path(folder)).run(getattr(importlib.import_module(module), cls), method, request))
    print(result.model_dump_json())


if __name__ == "__main__":
    main()
