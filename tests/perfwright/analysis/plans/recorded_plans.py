"""The recorded plans, as the tests read them."""

import json
from functools import cache
from typing import Any

from perfwright.models.database import Catalog
from tests.perfwright.analysis.plans.record_plans import FOLDER

VERSIONS = (15, 18)


@cache
def recorded_catalog(version: int) -> Catalog:
    return Catalog.model_validate_json((FOLDER / str(version) / "catalog.json").read_text())


def recorded_plan(version: int, name: str) -> dict[str, Any]:
    """`planted.missing_index`, `healthy.primary_key`, `timed.sub_plan`."""
    return dict(json.loads((FOLDER / str(version) / f"{name}.json").read_text()))


def recorded_names(version: int) -> list[str]:
    return sorted(path.stem for path in (FOLDER / str(version)).glob("*.json") if path.stem != "catalog")
