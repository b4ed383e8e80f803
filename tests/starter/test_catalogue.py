import json
from collections.abc import Callable
from pathlib import Path

import pytest

from starter.catalogue import PROCESSES, ProcessEntry, find_process
from starter.docs import BEGIN, END, main, pages, with_generated
from starter.input_table import example, input_rows
from starter.inputs import merged, read_assignments
from starter.refusals import UnknownProcess
from workflows.registry import WORKFLOWS

each = pytest.mark.parametrize("process", PROCESSES, ids=lambda process: process.name)
NO_PROCESSES = {"TargetLease", "Trial", "UndoJanitor"}


def workflow_of(process: ProcessEntry) -> type:
    return next(one for one in WORKFLOWS if one.__name__ == process.name)


def test_the_catalogue_is_complete() -> None:
    """Every process that a worker runs is in the catalogue, and nothing else is."""
    assert {process.name for process in PROCESSES} == {one.__name__ for one in WORKFLOWS} - NO_PROCESSES
    assert len({process.short_form for process in PROCESSES if process.short_form}) == len([p for p in PROCESSES if p.short_form])


@each
def test_the_catalogue_says_what_the_process_says(process: ProcessEntry) -> None:
    """Question and gates are those of the workflow; the id is the slug and the target."""
    workflow = workflow_of(process)
    assert (workflow.__doc__ or "").splitlines()[0] == process.question
    assert tuple(gate.name for gate in process.gates) == workflow.gate_names  # type: ignore[attr-defined]
    request = process.request.model_validate_json(json.dumps(example(process)))
    assert process.workflow_id(request) == f"{process.slug}/shop"


@each
def test_the_example_is_accepted(process: ProcessEntry) -> None:
    """What --example prints can be sent as it is, and every input is explained."""
    process.request.model_validate_json(json.dumps(example(process)))
    rows = input_rows(process)
    assert [row.name for row in rows] == list(process.request.model_fields)
    assert all(row.meaning and row.allowed for row in rows)
    assert all(row.unit for row in rows if row.name.endswith(("_s", "_hz", "_share", "_bytes")))


@pytest.mark.parametrize("name", ["cpuprofilinginvestigation", "CPUProfiling", "cpu", "x" * 10_000, ""])
def test_unknown_names_are_refused(name: str) -> None:
    """A name that is not exactly a process is refused with what there is."""
    with pytest.raises(UnknownProcess, match="CpuProfilingInvestigation"):
        find_process(name)


@pytest.mark.parametrize(
    ("words", "given", "mistakes"),
    [
        (["a=1", "b.c=[1,2]", "b.d=text"], {"a": 1, "b": {"c": [1, 2], "d": "text"}}, 0),
        (["a={}", "a.b=1"], {"a": {"b": 1}}, 0),
        (["a=1", "a.b=2"], {"a": 1}, 1),
        (["a=1", "a=2"], {"a": 2}, 1),
        (["a", "=1", ".=1", "a..b=1"], {}, 4),
        (["a=true", "b=null", "c=01", "d=a=b", "e="], {"a": True, "b": None, "c": "01", "d": "a=b", "e": ""}, 0),
        (["a=" + "[" * 100_000], {"a": "[" * 100_000}, 0),
    ],
)
def test_assignments(words: list[str], given: dict[str, object], mistakes: int) -> None:
    """--set takes JSON where it parses and text elsewhere, nests by dots, and tells every word that is none."""
    told: list[str] = []
    assert read_assignments(words, told) == given
    assert len(told) == mistakes


def test_options_are_laid_over_files() -> None:
    """Objects are merged field by field; anything else is replaced."""
    assert merged({"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"y": 3}, "b": [2]}) == {"a": {"x": 1, "y": 3}, "b": [2]}


def test_generated_docs_are_current() -> None:
    """`make check` fails when the docs do not say what the code says."""
    assert main(["--check"]) == 0


def test_stale_docs_are_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A page that differs is shown as a difference, written on demand, and what is written by hand stays."""
    processes = tmp_path / "docs" / "processes"
    processes.mkdir(parents=True)
    for process in PROCESSES:
        (processes / f"{process.slug}.md").write_text(f"# By hand\n{BEGIN}\nold\n{END}\nafter\n")
    monkeypatch.setattr("starter.docs.DOCS", tmp_path / "docs")
    assert main(["--check"]) == 1
    assert "+| `target` |" in capsys.readouterr().err
    assert main([]) == 0 and main(["--check"]) == 0
    text = (processes / f"{PROCESSES[0].slug}.md").read_text()
    assert text.startswith("# By hand\n") and text.endswith("\nafter\n") and "old" not in text
    assert main(["--wrong"]) == 2


def test_a_page_without_markers_is_an_error(tmp_path: Path) -> None:
    """A process without a page, or with one that lacks the markers, is told by its path."""
    check: Callable[[], object] = lambda: list(pages(tmp_path))  # noqa: E731
    with pytest.raises(SystemExit, match=r"cpu-profiling-investigation\.md"):
        check()
    with pytest.raises(SystemExit, match="markers"):
        with_generated(f"{END} {BEGIN}", "x", tmp_path)
