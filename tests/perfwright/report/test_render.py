"""The report: complete, small, offline, and safe whatever words programs and people put into it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from perfwright.models.measurement import Estimate, Interval
from perfwright.report import words
from perfwright.report.cpu_profiling import report_extras
from perfwright.report.render import HTML_LIMIT_BYTES, render_html, render_json, render_markdown
from tests.needs import needs
from tests.perfwright.report.examples import HOSTILE, CpuResult, example, figure_data

REPEAT = "perfwright start CpuProfilingInvestigation --target shop"


def page(result: CpuResult | None = None, data: dict[str, bytes] | None = None) -> str:
    result = result or example()
    return render_html(result, report_extras(result.details), "shop#4", REPEAT, figure_data() if data is None else data)


def test_the_page_says_what_was_found() -> None:
    """Verdict, summary, finding with file and line, advice, gates, decisions, method and repetition are on the page."""
    html = page()
    for said in (
        "passed",
        "match_rules",
        "srv/shop/pricing.py:41",
        "Index the rules once",
        "enough samples",
        "no data",
        "ana",
        "py-spy 0.4.3",
        "5.5 s missing after 12.0 s",
        "no earlier run",
        REPEAT,
        "shop#4",
    ):
        assert said in html, said


def test_the_page_loads_nothing() -> None:
    """No script, style, picture or font comes from elsewhere, and the policy in the page forbids it."""
    html = page()
    assert "default-src 'none'" in html
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", html)
    assert "@import" not in html
    assert not re.search(r"url\((?!['\"]?(data:|#))", html)


def test_hostile_words_stay_words() -> None:
    """Names of threads, functions and people cannot end a script or start one."""
    assert HOSTILE not in page()


def test_a_report_fits_into_a_mail() -> None:
    """Pictures that do not fit are told with where their data is, and the page stays under 3 MB."""
    data = figure_data() | {"graph": json.dumps({"name": "x" * 2_000_000, "value": 1}).encode()}
    html = page(data=data)
    assert len(html.encode()) <= HTML_LIMIT_BYTES
    assert "does not fit into a report of 3 MB" in html


def test_missing_data_is_told() -> None:
    """A picture whose data is gone leaves a sentence, not a broken page."""
    assert "The data of this picture could not be read: graph" in page(data={})


def test_a_result_without_findings_says_so() -> None:
    """A healthy target's page says that nothing costs enough to act on."""
    html = page(example().model_copy(update={"findings": (), "recommendations": ()}))
    assert "Nothing was found that costs enough to act on" in html
    assert "What to do first" not in html


def test_markdown_says_the_same() -> None:
    """The Markdown twin has verdict, findings, tables, gates and the repetition, and its tables have equal columns."""
    result = example()
    text = render_markdown(result, report_extras(result.details), "shop#4", REPEAT)
    for said in ("# shop", "passed", "match\\_rules takes 31 %", "`srv/shop/pricing.py:41 match_rules`", "| enough samples |", REPEAT):
        assert said in text, said
    rows = [line for line in text.splitlines() if line.startswith("|")]
    tables = [list(block) for block in _blocks(rows, text)]
    for table in tables:
        assert len({len(re.split(r"(?<!\\)\|", row)) for row in table}) == 1, table


def test_markdown_leaves_out_nothing_that_people_said_and_did() -> None:
    """Refused messages, who waived a check and why it failed, revisions, overrides, confidence and steps stand in both, and as text only."""
    result = example()
    waived = result.quality_gates[1].model_copy(
        update={"outcome": "waived", "note": "2 of | 9", "waived_by": "grace", "waived_at_gate": "profile_review"}
    )
    decision = result.decisions[0].model_copy(update={"revision": 2, "source": "update", "overrides": {"rate_hz": 20}})
    result = result.model_copy(update={"quality_gates": (result.quality_gates[0], waived), "decisions": (decision,)})
    text = render_markdown(result, report_extras(result.details), "shop#4", REPEAT)
    html = page(result)
    for said in (
        "1 message(s) were refused",
        "not open",
        "Waived by grace at profile_review",
        "(revision 2)",
        "(update)",
        "2025-03-01 12:01 UTC",
        "Confidence: high",
        "Preflight",
        "no earlier run",
        "Width is the share of samples",
        "cpu-profiling-investigation/shop",
    ):
        assert said in text, said
        assert said in html, said
    assert '{"rate\\_hz": 20}' in text and "2 of \\| 9" in text
    assert HOSTILE not in text.split("were refused")[1].split("## ")[0]
    nothing = result.model_copy(update={"quality_gates": (), "decisions": (), "refused_decisions": (), "steps": ()})
    text = render_markdown(nothing, report_extras(nothing.details), "shop#4", REPEAT)
    for said in ("No check was made", "No person or policy has answered a gate yet."):
        assert said in text and said in page(nothing), said
    assert "were refused" not in text


def _blocks(rows: list[str], text: str) -> Iterator[list[str]]:
    block: list[str] = []
    for line in text.splitlines():
        if line.startswith("|"):
            block.append(line)
        elif block:
            yield block
            block = []


def test_result_json_is_the_result() -> None:
    """Programs read back exactly what was said."""
    assert CpuResult.model_validate_json(render_json(example())) == example()


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (
            Estimate(value=0.31, unit="share of CPU seconds", interval=Interval(low=0.28, high=0.35)),
            "31.0 % (28.0 to 35.0 %) of CPU seconds",
        ),
        (Estimate(value=0.004, unit="share"), "0.40 %"),
        (Estimate(value=1536, unit="bytes"), "1.5 KiB"),
        (Estimate(value=250, unit="s"), "4 min 10 s"),
        (Estimate(value=0.14, unit="cores"), "0.14 cores"),
    ],
)
def test_numbers_read_well(estimate: Estimate, text: str) -> None:
    """Estimates carry their unit and interval in words."""
    assert words.estimate(estimate) == text


def test_process_names_read_well() -> None:
    """Workflow types become titles."""
    assert words.process_title("CpuProfilingInvestigation") == "CPU profiling investigation"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from shutil import which

    from playwright.sync_api import sync_playwright

    program = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := which(name)))
    quiet = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ]
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=quiet)
        yield started
        started.close()


@needs("chromium")
@pytest.mark.parametrize(("width", "scheme"), [(1_200, "light"), (1_200, "dark"), (400, "light")])
def test_the_page_works_in_a_browser(browser: Any, tmp_path: Path, width: int, scheme: str) -> None:
    """Flame graphs and series are drawn, nothing overflows at 400 px, no script fails, no request is made, hostile words do nothing."""
    from playwright.sync_api import expect

    (tmp_path / "report.html").write_text(page())
    view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    troubles: list[str] = []
    requests: list[str] = []
    view.on("pageerror", lambda error: troubles.append(str(error)))
    view.on("console", lambda message: troubles.append(message.text) if message.type == "error" else None)
    view.on("request", lambda request: requests.append(request.url))
    view.goto(f"file://{tmp_path}/report.html")
    for figure in view.query_selector_all(".flame, .series"):
        figure.scroll_into_view_if_needed()
    expect(view.locator(".flame svg")).to_have_count(2)
    expect(view.locator(".series canvas")).to_have_count(1)
    assert view.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert view.evaluate("document.querySelectorAll('.flame rect').length") > 20
    assert view.title().startswith("shop")
    view.fill(".tools input", "function_2")
    assert not troubles
    assert [url for url in requests if not url.startswith("file://")] == []
    view.close()
