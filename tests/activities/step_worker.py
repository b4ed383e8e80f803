"""A worker that carries out one step and can be killed: `python -m tests.activities.step_worker STEP FOLDER REQUEST_FILE`; DSN in the environment."""

import asyncio
import os
import sys
from pathlib import Path

from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.postgres_explain import PostgresExplain
from activities.postgres_trying import PostgresTrying
from perfwright.models.query_advice import AdviceOnTrial
from perfwright.models.query_steps import ExplainStatements


def main() -> None:
    step, folder, file = sys.argv[1:]
    artifacts, state, text = ArtifactStore(f"file://{folder}/store"), Path(folder) / "state", Path(file).read_text()
    run = ActivityEnvironment().run
    match step:
        case "explain_statements":
            explainer = PostgresExplain(artifacts, os.environ, state)
            asyncio.run(run(explainer.explain_statements, ExplainStatements.model_validate_json(text)))
        case "try_advice":
            trying = PostgresTrying(artifacts, os.environ, state)
            asyncio.run(run(trying.try_advice, AdviceOnTrial.model_validate_json(text)))
        case _:
            sys.exit(f"no such step: {step}")


if __name__ == "__main__":
    main()
