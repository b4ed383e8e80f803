"""Photographs of what people see, from a real run on the lab: `python -m tools.screenshots [FOLDER]`.

The lab's shop is investigated; the Temporal UI is photographed at each open gate and at the end, the report in light, dark and at the width
of a telephone. docs/gate.png and docs/report.png are two of them, chosen after all were looked at.
"""

import asyncio
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Literal

from playwright.async_api import Browser, async_playwright

from starter.client import Perfwright
from starter.connection import connect
from starter.demo import Act, begin
from starter.dev_server import NAMESPACE
from starter.run import Run
from starter.up import Stack, interrupt_at_signals, started
from workflows.cpu.cpu_profiling_investigation import CpuProfilingInvestigation
from workflows.plugin.plugin import PerfwrightPlugin

Scheme = Literal["light", "dark"]
Tab = Literal["user-metadata", "timeline"]
SHOWN: dict[Tab, str] = {"user-metadata": "Current Details", "timeline": "Descending"}
"""What stands on a tab of the UI once it has what it shows; before that it draws grey boxes."""
LAB = ("--load", "--duration", "600")
DRAWN = """() => {
  const boxes = [...document.querySelectorAll('.flame, .series')], empty = boxes.filter((box) => !box.querySelector('svg g.frame, canvas'));
  if (empty.length) empty[0].scrollIntoView();
  return boxes.length > 0 && empty.length === 0;
}"""
LOOKS: tuple[tuple[str, int, Scheme], ...] = (
    ("report-light", 1100, "light"),
    ("report-dark", 1100, "dark"),
    ("report-narrow", 400, "light"),
)


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".perfwright/screenshots")
    folder.mkdir(parents=True, exist_ok=True)
    interrupt_at_signals()
    with started(lab=True, port=0, ui_port=0, lab_options=LAB) as stack:
        assert stack.config is not None
        # The lab lets its reviews pass; here they are to be seen.
        asked = re.sub('review = "notify"', 'review = "ask"', stack.config.read_text())
        stack.config.write_text(asked)
        asyncio.run(_photograph(stack, folder))
    print(*sorted(folder.glob("*.png")), sep="\n")
    return 0


async def _photograph(stack: Stack, folder: Path) -> None:
    client = await connect(plugins=[PerfwrightPlugin()], config={"target_host": stack.server.address, "namespace": NAMESPACE})
    program = next(path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name)))
    async with async_playwright() as playwright, Perfwright.connect(client, config=stack.config) as perf:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        run = await begin(perf, Act(CpuProfilingInvestigation, "shop", {"duration_s": 40.0}))
        async for gate in run.gates():
            await _shoot_ui(browser, stack, run, "user-metadata", folder / f"gate-{gate.name.replace('_', '-')}.png")
            await run.approve(gate.name, by="ada")
        result: Any = await run.result()
        await _shoot_ui(browser, stack, run, "timeline", folder / "finished-timeline.png")
        await _shoot_ui(browser, stack, run, "user-metadata", folder / "finished-details.png")
        assert stack.config is not None
        await _shoot_report(browser, stack.config.parent / "artifacts" / result.report.html.uri, folder)
        await browser.close()


async def _shoot_ui(browser: Browser, stack: Stack, run: Run, tab: Tab, file: Path) -> None:
    page = await browser.new_page(viewport={"width": 1280, "height": 1400})
    described = await run.handle.describe()
    workflow = described.id.replace("/", "%2F")
    await page.goto(f"{stack.server.ui_url}/namespaces/{NAMESPACE}/workflows/{workflow}/{described.run_id}/{tab}", wait_until="load")
    await page.get_by_text(SHOWN[tab], exact=True).first.wait_for()
    await page.wait_for_timeout(2_000)  # it draws what it fetches, and says nothing when it is done
    await page.screenshot(path=file)
    await page.close()


async def _shoot_report(browser: Browser, report: Path, folder: Path) -> None:
    for name, width, scheme in LOOKS:
        context = await browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
        page = await context.new_page()
        await page.goto(report.as_uri(), wait_until="load")
        await page.wait_for_function(DRAWN, polling=50)
        await page.evaluate("window.scrollTo(0, 0)")
        await page.screenshot(path=folder / f"{name}.png")
        await page.screenshot(path=folder / f"{name}-whole.png", full_page=True)
        await context.close()


if __name__ == "__main__":
    sys.exit(main())
