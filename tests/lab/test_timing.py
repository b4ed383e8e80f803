import json
import subprocess
import sys
import time

from lab.starting import ROOT
from lab.timing import Stopwatch, shares


def test_shares_are_of_the_time_between_two_readings() -> None:
    """What was used before the first reading does not count."""
    before = {"cpu_s": 10.0, "spent_s": {"a": 4.0, "b": 0.0}}
    after = {"cpu_s": 14.0, "spent_s": {"a": 5.0, "b": 3.0}}
    assert shares(before, after) == {"a": 0.25, "b": 0.75}


def test_calls_are_timed_by_their_thread() -> None:
    """Timed functions give what they gave, their CPU time is part of the process's, and waiting is none of it."""
    watch = Stopwatch()
    work, wait = watch.timed("work", lambda n: sum(range(n))), watch.timed("wait", time.sleep)
    many = watch.timed("many", lambda n: sum(range(n)), every=10)
    before = watch.reading()
    assert work(500_000) == sum(range(500_000)) and wait(0.05) is None and [many(50_000) for _ in range(20)]
    after = watch.reading()
    told = shares(before, after)
    assert 0.0 < told["work"] < 1.0 and told["wait"] < told["work"]
    assert after["spent_s"]["many"] > 0.0


def test_absurd_numbers_are_refused() -> None:
    """A mistake is told before anything starts."""
    for options in (["--seconds", "1e9"], ["--rate", "0"], ["--problems", "nothing"]):
        done = subprocess.run([sys.executable, "-m", "lab.timing", *options], cwd=ROOT, capture_output=True, text=True, timeout=30)
        assert (done.returncode, done.stdout) == (2, "")


def test_the_shop_is_timed() -> None:
    """Every CPU problem of the shop gets a share, all together less than the whole."""
    command = [sys.executable, "-m", "lab.timing", "--seconds", "1.5", "--rate", "40"]
    told = json.loads(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True).stdout)
    assert told["cores"] > 0 and len(told["shares"]) == 5
    assert 0.3 < sum(told["shares"].values()) < 1.0
