"""A worker that explains once and can be killed: `python -m tests.activities.explain_worker FOLDER REQUEST_FILE`; the environment has the DSN."""

import asyncio
import os
import sys
from pathlib import Path

from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres_explain import PostgresExplain
from perfwright.models.query_steps import ExplainStatements


def main() -> None:
    folder, file = sys.argv[1:]
    request = ExplainStatements.model_validate_json(Path(file).read_text())
    explainer = PostgresExplain(ArtifactStore(f"file://{folder}/store"), os.environ, Path(folder) / "state")
    asyncio.run(ActivityEnvironment().run(explainer.explain_statements, request))


if __name__ == "__main__":
    main()
