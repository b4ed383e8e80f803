"""A real program in a language that nothing here reads, from finding it to what is said of it."""

from pathlib import Path

import psutil
import pytest

from activities.cpu_analysis import findings_of, hot_paths_of, review_of, utilisation_of
from activities.finding_processes import describe
from activities.perf import Perf
from perfwright.analysis.interpreters import interpreter_in
from perfwright.analysis.profiler_choice import choose_profiler
from tests.activities.recordings import Bench, program, recording
from tests.drawn_profiles import use
from tests.needs import needs

REVERSES = "$| = 1; my $text = 'ab' x 100_000; print qq(ready\\n); while (1) { my $turned = reverse $text; }"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@needs("perf", "perl")
async def test_a_perl_program(bench: Bench, tmp_path: Path) -> None:
    """It is called Perl, with what shows its lines; the interpreter's hottest function is listed, and nobody is told to change it."""
    with program("perl", "-e", REVERSES) as target:
        process = describe(psutil.Process(target.pid))
        stacks = await bench.run(Perf, "record_native_stacks", recording(target.pid, "perf", duration_s=2, rate_hz=49))
    interpreter = interpreter_in(process)
    assert interpreter is not None and (process.runtime, process.runtime_version) == ("native", "Perl")
    choice = choose_profiler(process, {"perf": "6.1"}, None)
    assert choice.tool == "perf" and "Perl" in choice.reason and "Devel::NYTProf" in choice.caveats[0]

    path, usage = str(tmp_path / "profile"), use({"perl": 0.98})
    Path(path).write_bytes(await bench.store.get(stacks.profile))
    _, inside, _ = review_of(path, usage, "native", interpreter)
    assert inside is not None and inside > 0.8
    hot_paths, utilisation = hot_paths_of(path, usage, "native", 5, 0.98), utilisation_of(path, usage, "native")
    findings, advice = findings_of(path, usage, "native", hot_paths, utilisation, None, stacks.profile, "", interpreter)
    costs = [one for one in findings if not one.id.startswith("pattern:")]
    assert "reverse" in costs[0].title and "Devel::NYTProf" in costs[0].summary
    assert {one.severity for one in costs} == {"information"} and not advice
