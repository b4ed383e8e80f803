"""Observes one window and can be killed: `python -m tests.activities.window_worker FOLDER REQUEST_FILE`, connection string in the environment."""

import asyncio
import os
import sys
from pathlib import Path

from perfwright.models.query_steps import ObserveStatements
from tests.databases import VARIABLE, Examined


def main() -> None:
    folder, file = sys.argv[1:]
    request = ObserveStatements.model_validate_json(Path(file).read_text())
    print(asyncio.run(Examined(os.environ[VARIABLE], Path(folder)).run("observe_statements", request)).model_dump_json())


if __name__ == "__main__":
    main()
