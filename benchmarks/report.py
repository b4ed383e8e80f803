"""A profile of 2 million samples in 200,000 distinct stacks: analysed, drawn, and its report opened in a browser.

The analysis and its memory are measured by `profile_analysis.py`, in a process of its own. The report has what a run of
CpuProfilingInvestigation puts there, with a flame graph and the difference to an earlier run; opened from a file, without any network, and
timed until every flame graph is drawn, after Chromium itself has started.
"""

import asyncio
import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from playwright.async_api import Browser, async_playwright

from benchmarks.measured import Measured
from benchmarks.profile_analysis import LIMIT_BYTES, LIMIT_S
from benchmarks.running import ROOT, environment
from perfwright.analysis.call_tree import decode_profile
from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.flame_graphs import draw_difference, draw_flame_graph
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import PROCESS, CpuProfilingDetails, FlameGraph
from perfwright.models.result import ProcessResult
from perfwright.report.cpu_profiling import report_extras
from perfwright.report.render import HTML_LIMIT_BYTES, render_html

OPEN_LIMIT_S = 3.0
OPENINGS = 5
ANALYSIS_TIMEOUT_S = 240
TOLD = re.compile(r"^all +(?P<seconds>[\d.]+) s .* peak +(?P<peak>[\d,]+) MB of", re.MULTILINE)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
DRAWN = """() => {
  const boxes = [...document.querySelectorAll('.flame')], empty = boxes.filter((box) => !box.querySelector('svg g.frame'));
  if (empty.length) empty[0].scrollIntoView();
  return boxes.length > 0 && empty.length === 0;
}"""


async def measure() -> list[Measured]:
    with tempfile.TemporaryDirectory(prefix="perfwright-") as temporary:
        profile, page = Path(temporary, "profile"), Path(temporary, "report.html")
        return [*analyse(profile), *await open_report(write_report(profile, page), page)]


def analyse(kept: Path) -> list[Measured]:
    command = [sys.executable, "-m", "benchmarks.profile_analysis", "--keep", str(kept)]
    ran = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=ANALYSIS_TIMEOUT_S)
    if (told := TOLD.search(ran.stdout)) is None:
        raise RuntimeError(f"benchmarks.profile_analysis ended with exit code {ran.returncode}: {ran.stderr[-500:]}")
    first = ran.stdout.partition("\n")[0]
    return [
        Measured("analysis of a large profile", float(told["seconds"]), "s", LIMIT_S, note=first),
        Measured("its peak memory", float(told["peak"].replace(",", "")), "MB", LIMIT_BYTES / 1e6),
    ]


def write_report(profile: Path, page: Path) -> int:
    """The report of that profile, compared with itself; returns its size in bytes."""
    seen = on_cpu(CallTree(decode_profile(profile.read_bytes())), runtime="python")
    hot_paths, utilisation = find_hot_paths(seen, top=15), describe_utilisation(seen, None)
    findings, recommendations = analyse_findings(seen, hot_paths, utilisation, None)
    side = (seen.tree, seen.rows)
    graph, difference = draw_flame_graph(*side, runtime="python"), draw_difference(side, side, runtime="python")
    data = {name: json.dumps(one.root, separators=(",", ":")).encode() for name, one in (("graph", graph), ("difference", difference))}
    refs = {
        name: ArtifactRef(uri=name, sha256="0" * 64, size_bytes=len(content), media_type="application/json")
        for name, content in data.items()
    }
    graphs = (
        FlameGraph(title="On-CPU flame graph", kind="on_cpu", data=refs["graph"], samples=graph.samples),
        FlameGraph(title="Change since shop#1", kind="diff", data=refs["difference"], samples=difference.samples, compared_with="shop#1"),
    )
    result = ProcessResult[CpuProfilingDetails](
        process=PROCESS,
        target="shop",
        environment="lab",
        workflow_id="benchmark",
        run_id="benchmark",
        verdict="passed",
        summary="A benchmark.",
        findings=findings,
        recommendations=recommendations,
        started_at="2025-03-01T12:00:00+00:00",
        details=CpuProfilingDetails(flame_graphs=graphs, hot_paths=hot_paths, utilisation=utilisation),
    )
    html = render_html(result, report_extras(result.details), "shop#2", "perfwright cpu --target shop", data)
    return page.write_bytes(html.encode())


async def open_report(size_bytes: int, page: Path) -> list[Measured]:
    size = Measured("its HTML report", size_bytes / 1e6, "MB", HTML_LIMIT_BYTES / 1e6)
    program = next((path for name in BROWSERS if (path := shutil.which(name))), None)
    if program is None:
        return [size, Measured("opening the report", None, "s", OPEN_LIMIT_S, note=f"none of {', '.join(BROWSERS)} is installed")]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            seconds = [await seconds_to_open(browser, page) for _ in range(OPENINGS)]
        finally:
            await browser.close()
    note = f"until every flame graph is drawn; median of {OPENINGS}, slowest {max(seconds):.2f} s"
    return [size, Measured("opening the report", statistics.median(seconds), "s", OPEN_LIMIT_S, note=note)]


async def seconds_to_open(browser: Browser, page: Path) -> float:
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, offline=True)
    tab = await context.new_page()
    began = time.perf_counter()
    async with asyncio.timeout(60):
        await tab.goto(page.as_uri(), wait_until="load")
        await tab.wait_for_function(DRAWN, polling=20)
    seconds = time.perf_counter() - began
    await context.close()
    return seconds
