"""A worker that tries advice once and can be killed: `python -m tests.activities.trying_worker FOLDER REQUEST_FILE`; DSN in the environment."""

import asyncio
import os
import sys
from pathlib import Path

from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres_trying import PostgresTrying
from perfwright.models.query_advice import AdviceOnTrial


def main() -> None:
    folder, file = sys.argv[1:]
    request = AdviceOnTrial.model_validate_json(Path(file).read_text())
    trying = PostgresTrying(ArtifactStore(f"file://{folder}/store"), os.environ, Path(folder) / "state")
    asyncio.run(ActivityEnvironment().run(trying.try_advice, request))


if __name__ == "__main__":
    main()
