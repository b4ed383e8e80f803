"""Which code a worker runs: told to Temporal, which shows it with the worker and with every workflow task."""

import hashlib
from functools import cache
from pathlib import Path

from temporalio.common import WorkerDeploymentVersion
from temporalio.worker import WorkerDeploymentConfig

ROOT = Path(__file__).resolve().parent.parent
HOUSES = ("perfwright", "activities", "workflows", "starter")


@cache
def unversioned_deployment() -> WorkerDeploymentConfig:
    """The version by our sources; tasks are not routed by it. The SDK's own reads the byte code of every module, a tenth of a start."""
    version = WorkerDeploymentVersion(deployment_name="perfwright", build_id=_hash_of_sources())
    return WorkerDeploymentConfig(version=version, use_worker_versioning=False)


def _hash_of_sources() -> str:
    told = hashlib.sha256()
    for house in HOUSES:
        for source in sorted((ROOT / house).rglob("*.py")):
            told.update(source.read_bytes())
    return told.hexdigest()[:16]
