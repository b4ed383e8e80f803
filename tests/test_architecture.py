"""The rules of the house that a machine can hold: direction of imports, registries against files, no lab names in the product."""

import ast
import importlib
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HOUSES = ["perfwright.models", "perfwright.analysis", "perfwright.report", "activities", "workflows", "starter"]
PRODUCT = ["perfwright", "activities", "workflows"]


def sources(folder: str) -> list[Path]:
    return sorted(p for p in (ROOT / folder.replace(".", "/")).rglob("*.py") if "__pycache__" not in p.parts)


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("house", HOUSES)
def test_imports_go_one_way(house: str) -> None:
    """Nothing imports to its right: models <- analysis <- report <- activities <- workflows <- starter, worker."""
    right = [*HOUSES[HOUSES.index(house) + 1 :], "worker", "lab"]
    wrong = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(house)
        for name in imported(path)
        if any(name == other or name.startswith(f"{other}.") for other in right) and not (house == "starter" and name.startswith("lab"))
    ]
    assert not wrong, "\n".join(wrong)


def test_the_domain_is_pure() -> None:
    """perfwright/ knows no Temporal, no clock, no network, no subprocess and no unseeded chance."""
    banned = {"temporalio", "asyncio", "subprocess", "socket", "random", "time", "obstore", "sqlalchemy", "psutil", "httpx", "requests"}
    wrong = [f"{p.relative_to(ROOT)} imports {n}" for p in sources("perfwright") for n in imported(p) if n.split(".")[0] in banned]
    assert not wrong, "\n".join(wrong)


def test_the_lab_is_not_known() -> None:
    """No name of the lab stands in product code: findings come from measuring alone."""
    planted = tomllib.loads((ROOT / "lab" / "planted.toml").read_text())
    names = {entry["function"] for entry in planted["problem"]} | {entry["name"] for entry in planted["problem"]}
    wrong = [f"{p.relative_to(ROOT)}: {n}" for house in PRODUCT for p in sources(house) for n in names if n in p.read_text()]
    assert names and not wrong, "\n".join(wrong)


def test_init_files_stay_empty() -> None:
    """The workflow sandbox imports parents again on every run."""
    assert not [p for house in HOUSES for p in sources(house) if p.name == "__init__.py" and p.read_text().strip()]


def test_files_stay_small() -> None:
    """A file past 420 lines wants to be two."""
    long = [
        f"{p.relative_to(ROOT)}: {n}" for house in [*HOUSES, "lab"] for p in sources(house) if (n := len(p.read_text().splitlines())) > 420
    ]
    assert not long, "\n".join(long)


def test_every_workflow_is_registered() -> None:
    """Each file with @workflow.defn is in WORKFLOWS, and nothing else is."""
    from workflows.registry import WORKFLOWS

    on_disk = {
        node.name
        for path in sources("workflows")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and any("workflow.defn" in ast.unparse(d) for d in node.decorator_list)
    }
    assert {w.__name__ for w in WORKFLOWS} == on_disk


def test_every_activity_is_registered_once() -> None:
    """Each @activity.defn method on disk is built by the registry, and names are unique in the project."""
    from activities.registry import ACTIVITY_CLASSES

    on_disk: dict[str, str] = {}
    for path in sources("activities"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef) and any(
                "activity.defn" in ast.unparse(d) for d in node.decorator_list
            ):
                assert node.name not in on_disk, f"{node.name} in {module} and {on_disk[node.name]}"
                on_disk[node.name] = module
    registered = {name for cls in ACTIVITY_CLASSES for name in dir(cls) if hasattr(getattr(cls, name), "__temporal_activity_definition")}
    assert registered == set(on_disk)


def test_every_module_imports() -> None:
    """No module has an import error that only shows when it is first needed."""
    for house in HOUSES:
        for path in sources(house):
            if "migrations" not in path.parts and path.name not in {"__main__.py", "supervisor.py", "compute_runner.py"}:
                importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))
