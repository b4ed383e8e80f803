import asyncio
import json
import sys
from pathlib import Path

import pytest
from temporalio.client import Client

from perfwright.models.queues import CENTRAL_QUEUE
from starter.catalogue import PROCESSES
from tests.starter.cli_samples import HasChild
from tests.starter.conftest import Bench, Command, until

NAME = "CpuProfilingInvestigation"
LIGHT = """
import sys
sys.argv = ["perfwright", *{words!r}]
try:
    from starter.cli.main import main
    main()
except SystemExit:
    pass
print("LOADED", [name for name in {heavy!r} if name in sys.modules])
"""


HEAVY = ("temporalio", "sqlalchemy", "numpy", "asyncio", "rich")


@pytest.mark.parametrize(
    ("words", "heavy"), [(["--help"], (*HEAVY, "pydantic")), (["start", "--help"], HEAVY), (["processes", "--json"], HEAVY)]
)
async def test_help_loads_nothing_heavy(words: list[str], heavy: tuple[str, ...]) -> None:
    """Help and the list of processes are there at once: neither Temporal nor Rich is loaded for them (Typer parses with pydantic)."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LIGHT.format(words=words, heavy=heavy), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out.decode().splitlines()[-1] == "LOADED []"


async def test_every_command_has_help(command: Command) -> None:
    """The commands are listed under headings with one line each, and a wrong one is told with the nearest."""
    said = await command("--help")
    for name in ("up", "cpu", "init", "worker", "doctor", "targets", "processes", "describe", "start", "list", "show", "gates", "approve"):
        assert f"\n  {name} " in said.out
    assert said.code == 0 and "Run a process:" in said.out
    wrong = await command("strat")
    assert wrong.code == 2 and "Did you mean 'start'" in wrong.err


async def test_processes_are_described(command: Command) -> None:
    """A process's question, inputs with defaults, steps and gates can be read, as text, JSON, schema and example."""
    listed, text, schema, example = await asyncio.gather(
        command("processes"), command("describe", NAME), command("describe", NAME, "--schema"), command("describe", NAME, "--example")
    )
    assert NAME in listed.out
    assert "duration_s" in text.out and "30.0" in text.out and "profile_review" in text.out
    assert schema.json["properties"]["rate_hz"]["maximum"] == 999
    PROCESSES[0].request.model_validate_json(json.dumps(example.json))
    unknown = await command("describe", "CpuProf")
    assert unknown.code == 2 and f"nearest: {NAME}." in unknown.err


@pytest.mark.parametrize("columns", ["40", "80", "200"])
async def test_tables_fold_on_narrow_terminals(command: Command, columns: str) -> None:
    """No line is wider than the terminal, and piped output has no colour and no trailing blanks."""
    said = await command("describe", NAME, COLUMNS=columns)
    lines = said.out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert "\x1b" not in said.out and not [line for line in lines if line != line.rstrip()]


async def test_ci_learns_the_verdict_from_the_exit_code(command: Command, bench: Bench) -> None:
    """start --wait follows to the end, prints verdict, findings and where the report is, and its exit code is the verdict's."""
    passed = await command("start", NAME, "--target", bench.other, "--set", "duration_s=3", "--wait")
    assert passed.code == 0, passed.err
    for told in (
        f"Record stacks of {bench.other} for 3 s",
        "PASSED",
        "pricing.py:41 match_rules",
        "30.0 % (25.0 to 35.0 %)",
        "report.html",
    ):
        assert told in passed.out
    html = next(word for word in passed.out.split() if word.endswith("report.html"))
    assert "<html" in Path(html).read_text()
    failed = await command("start", NAME, "--target", bench.other, "--set", "top=1", "--wait", "--json")
    assert failed.code == 1 and failed.json["verdict"] == "failed"
    inconclusive = await command("start", NAME, "--target", bench.other, "--set", "top=2", "--wait")
    assert inconclusive.code == 3
    not_carried_out = await command("start", NAME, "--target", bench.other, "--set", "top=99", "--wait")
    assert not_carried_out.code == 5 and "TargetGone: process 4711 exited" in not_carried_out.err
    assert "Traceback" not in not_carried_out.err


async def test_bad_input_is_refused_at_once(command: Command, bench: Bench) -> None:
    """Mistakes of options, fields, values and target are told together, before anything starts; exit code 2."""
    said = await command(
        "start",
        NAME,
        "--target",
        f"{bench.target}x",
        "--set",
        "duration_s=-1",
        "--set",
        "rate_hz=1000000",
        "--set",
        "foo=1",
        "--set",
        "bar",
    )
    assert said.code == 2 and "5 mistakes" in said.err
    for told in (f"nearest: {bench.target}", "got -1", "got 1000000", "foo: no such field", "--set bar: field=value is needed"):
        assert told in said.err
    for words, told in (
        (("start", "Nothing", "--target", "x"), "no process"),
        (("start", NAME), "target: missing"),
        (("start", NAME, "--input", "nothing.json"), "cannot be read"),
        (("show", "nothing-of-the-kind"), "no run"),
        (("approve", "nothing-of-the-kind", "profile_review"), "no run"),
        (("list", "--verdict", "good"), "for '--verdict': 'good' is not one of 'passed'"),
        (("targets", "--config", "nothing.toml"), "no such file"),
    ):
        refused = await command(*words)
        assert refused.code == 2 and told in refused.err and "Traceback" not in refused.err, (words, refused)
    assert (await command("list", "--target", f"{bench.target}x", "--json")).json == []


async def test_input_comes_from_files_pipes_and_options(command: Command, bench: Bench) -> None:
    """A JSON object by file or pipe is laid under --set and --target; nested fields are set by dots, values are JSON or text."""
    given = json.dumps({"target": "overridden", "duration_s": 7, "workload": {"command": ["make", "load"], "warm_up_s": 1}})
    words = ("start", NAME, "--target", bench.target, "--dry-run", "--json", "--set", "duration_s=3", "--set", 'workload.command=["true"]')
    piped = await command(*words, "--input", "-", stdin=given)
    (bench.folder / "input.json").write_text(given)
    filed = await command(*words, "--input", "input.json")
    for said in (piped, filed):
        request = said.json["request"]
        assert (request["target"], request["duration_s"]) == (bench.target, 3)
        assert request["workload"]["command"] == ["true"] and request["workload"]["warm_up_s"] == 1
    broken = await command(*words, "--input", "-", stdin="{")
    assert broken.code == 2 and "not JSON" in broken.err


async def test_a_dry_run_starts_nothing(command: Command, bench: Bench) -> None:
    """--dry-run checks input, target, workers and other runs, prints the plan, and says with its exit code whether it would run."""
    said = await command("start", NAME, "--target", bench.target, "--dry-run")
    assert "nothing is started" in said.out and "ask (environment lab" in said.out
    # This worker serves no host queue, so the plan says what is missing and how to get it.
    assert said.code == 5 and "perfwright worker" in said.out
    assert (await command("list", "--target", bench.target, "--json")).json == []


async def test_gates_are_answered_from_the_command_line(command: Command, bench: Bench) -> None:
    """What waits is listed with its digest and deadline; approve, reject and request-changes answer at once whether they count."""
    started = await command("start", NAME, "--target", bench.target, "--json")
    workflow_id = started.json["workflow_id"]
    again = await command("start", NAME, "--target", bench.target)
    assert again.code == 5 and "is running already" in again.err and "--follow" in again.err

    async def waiting() -> bool:
        return any(gate["name"] == "profile_review" for gate in (await command("gates", "--target", bench.target, "--json")).json)

    await until(waiting)
    listed = await command("gates", "--target", bench.target)
    assert "Is this profile of" in listed.out and "(in 9 min" in listed.out
    wrong = await command("approve", bench.target, "profile_revew")
    assert wrong.code == 2 and "nearest: profile_review" in wrong.err
    silent = await command("reject", bench.target, "profile_review")
    assert silent.code == 2 and "--comment" in silent.err
    shown = await command("show", bench.target)
    assert f"perfwright approve {workflow_id} profile_review" in shown.out
    changed = await command("request-changes", bench.target, "profile_review", "--comment", "longer", "--set", "duration_s=6")
    assert changed.code == 0 and "changes requested" in changed.out

    async def revised() -> bool:
        gates = (await command("show", bench.target, "--json")).json["open_gates"]
        return [gate["revision"] for gate in gates] == [2]

    await until(revised)
    approved = await command("approve", bench.target, "profile_review", "--by", "bea", "--json")
    assert approved.json["decision"]["by"] == "bea"

    async def under_review() -> bool:
        return "report.html" in (await command("report", bench.target)).out

    await until(under_review)  # the report is there before the gate that asks about it
    early = await command("report", bench.target, "--json")
    assert early.code == 5 and "findings_review" in early.err
    rejected = await command("reject", bench.target, "findings_review", "--comment", "not the real load")
    assert rejected.code == 0
    ended = await command("show", bench.target, "--follow")
    assert ended.code == 0 and "findings_review: rejected by ada" in ended.out


async def test_nobody_approves_a_change_blind(command: Command, client: Client, bench: Bench) -> None:
    """A change gate, here a child's, is shown whole, and a decision without a person at the terminal needs the digest of what is on show."""
    handle = await client.start_workflow(HasChild.run, None, id=f"parent/{bench.target}", task_queue=CENTRAL_QUEUE)

    async def shown() -> bool:
        return "apply_change waits for a person (change)" in (await command("show", handle.id)).out

    await until(shown)
    blind = await command("approve", handle.id, "apply_change")
    assert blind.code == 2 and "CREATE INDEX CONCURRENTLY by_day ON orders (day);" in blind.out
    digest = blind.err.split("--digest ")[1].split()[0]
    stale = await command("approve", handle.id, "apply_change", "--digest", "00000000")
    assert stale.code == 2 and "digest" in stale.err
    taken = await command("approve", handle.id, "apply_change", "--digest", digest)
    assert taken.code == 0 and f"{handle.id}/trial-1" in taken.out
    assert await handle.result() == "approved"


async def test_a_finished_run_is_shown_and_reported(command: Command, bench: Bench) -> None:
    """list, show and report find a run by target and number; JSON of each is for programs."""
    await command("start", NAME, "--target", bench.other, "--wait")
    listed = await command("list", "--target", bench.other, "--json")
    (run,) = listed.json
    assert (run["name"], run["verdict"], run["status"]) == (f"{bench.other}#1", "passed", "completed")
    shown = await command("show", f"{bench.other}#1")
    assert "Record" in shown.out and "recorded for 30 s" in shown.out and "PASSED" in shown.out
    reported = await command("report", bench.other, "--json")
    assert reported.json["verdict"] == "passed" and reported.json["details"]["hot_paths"]["samples"] == 1_000
    over = await command("cancel", bench.other)
    assert over.code == 2 and "over already" in over.err
    late = await command("approve", bench.other, "profile_review")
    assert late.code == 2 and "is over" in late.err


async def test_live_numbers_are_shown(command: Command, bench: Bench) -> None:
    """While a step runs, show tells what it has heartbeaten, under the step's own sentence."""
    bench.recorder.finish.clear()
    await command("start", NAME, "--target", bench.target)

    async def recording() -> bool:
        running = (await command("show", bench.target, "--json")).json["running"]
        return bool(running and running[0]["numbers"])

    await until(recording)
    shown = await command("show", bench.target)
    assert f"Record stacks of {bench.target} for 30 s: 1.5 of 30 s, pass on_cpu, slices 2" in shown.out
    cancelled = await command("cancel", bench.target)
    assert cancelled.code == 0
    ended = await command("show", bench.target, "--follow")
    assert ended.code == 5 and "cancelled" in ended.err


async def test_an_interrupted_follower_leaves_the_run(command: Command, bench: Bench) -> None:
    """Ctrl-C ends the following, not the run, and says how to come back."""
    said = await command("start", NAME, "--target", bench.target, "--wait", interrupt_at="waits for a person")
    assert said.code == 130 and f"perfwright show cpu-profiling-investigation/{bench.target} --follow" in said.err
    assert "Traceback" not in said.err
    assert (await command("show", bench.target, "--json")).json["status"] == "running"
    await command("cancel", bench.target)


async def test_two_runs_are_compared(command: Command, bench: Bench) -> None:
    """Numbers stand side by side with their intervals, and what differs by more than they can be wrong is named."""
    await command("start", NAME, "--target", bench.other, "--set", "duration_s=3", "--wait")
    await command("start", NAME, "--target", bench.other, "--set", "duration_s=9", "--wait")
    first, second = f"{bench.other}#1", f"{bench.other}#2"
    said = await command("compare", first, second, "--json")
    (number,) = [one for one in said.json["numbers"] if one["what"].startswith("match_rules")]
    assert number["shown"] == "more" and number["difference"]["value"] == pytest.approx(0.3)
    assert "Recorded with different settings: duration_s." in said.json["cautions"]
    page = await command("compare", first, second, "--output", "page.html")
    assert "match_rules" in page.out and "page  page.html" in page.out
    html = (bench.folder / "page.html").read_text()
    assert "+30.0 % (22.9 to 37.1 %)" in html and "No difference flame graph: one of the runs recorded no stacks" in html
    same = await command("compare", first, first)
    assert same.code == 2 and "same run" in same.err
    unknown = await command("compare", first, f"{bench.other}#3")
    assert unknown.code == 2 and f"{bench.other}#2" in unknown.err


async def test_no_server_is_told_in_one_line(command: Command) -> None:
    """Without a server, or with a namespace that is not there, every command says so and what to do; exit code 5."""
    (said, namespace) = await asyncio.gather(
        command("list", TEMPORAL_ADDRESS="127.0.0.1:1"), command("gates", TEMPORAL_NAMESPACE="nothing-here")
    )
    assert said.code == 5 and said.err.startswith("error: no Temporal server answers at 127.0.0.1:1") and "perfwright up" in said.err
    assert namespace.code == 5 and "nothing-here" in namespace.err
    assert "Traceback" not in said.err + namespace.err


async def test_a_first_look_needs_up(command: Command) -> None:
    """The short form works only beside `perfwright up`, says so, and wants exactly one process."""
    alone = await command("cpu", "--pid", "1")
    assert alone.code == 5 and "Start `perfwright up` here" in alone.err
    none = await command("cpu")
    both = await command("cpu", "--pid", "1", "--port", "2")
    assert none.code == both.code == 2 and "exactly one of" in none.err + both.err


async def test_targets_tell_whether_they_answer(command: Command, bench: Bench) -> None:
    """Each target of the registry is tried from here: the process is named, what is gone is told."""
    registry = bench.folder / "perfwright.toml"
    registry.write_text(
        registry.read_text() + '[targets.gone]\nkind = "http"\nurl = "http://127.0.0.1:1"\nenvironment = "lab"\n'
        '[targets.elsewhere]\nkind = "process"\nhost = "db1"\nenvironment = "lab"\nprocess = { port = 1 }\n'
        '[targets.db]\nkind = "postgresql"\nenvironment = "lab"\ndsn_env = "SET_FOR_THE_WORKER_ONLY"\n'
        '[store]\nartifacts = "s3://bucket"\nhistory = "postgresql+asyncpg://db/history"\n'
    )
    said = await command("targets", "--json")
    states = {one["target"]["name"]: (one["answers"], one["told"]) for one in said.json}
    assert states[bench.target][0] is True and "python" in states[bench.target][1].lower()
    assert states["gone"] == (False, "127.0.0.1:1: connection refused")
    assert states["db"][0] is None and "the worker uses its own" in states["db"][1]
    assert states["elsewhere"][0] is None and "db1" in states["elsewhere"][1]
    assert "answers" in (await command("targets")).out


async def test_the_doctor_names_what_is_missing(command: Command, bench: Bench) -> None:
    """doctor looks at server, workers, stores, tools, permissions and targets, and exits with 1 when a target cannot be served."""
    said = await command("doctor", "--json")
    looked = {(one["section"], one["name"]): one for one in said.json}
    assert looked["Temporal", "server"]["state"] == "ok" and looked["Temporal", "search attributes"]["state"] == "ok"
    assert looked["Stores", "artifacts"]["state"] == "ok" and looked["Stores", "history"]["state"] == "ok"
    assert looked["Tools", "py-spy"]["state"] == "ok"
    assert looked["Targets", bench.target]["state"] == "missing" and "perfwright worker" in looked["Targets", bench.target]["told"]
    assert said.code == 1
    unknown = await command("doctor", "--target", bench.target[:-1])
    assert unknown.code == 2 and f"nearest: {bench.target}" in unknown.err
    alone = await command("doctor", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert alone.code == 1 and "no Temporal server" in alone.out
