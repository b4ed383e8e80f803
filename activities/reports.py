"""Publishes a result as HTML, Markdown and JSON artifacts."""

import json
from collections.abc import Callable
from typing import Any

from temporalio import activity

from activities.artifacts import ArtifactStore
from perfwright.models.cpu_optimization import PROCESS as CPU_OPTIMIZATION
from perfwright.models.cpu_optimization import CpuOptimizationDetails
from perfwright.models.cpu_profiling import PROCESS as CPU_PROFILING
from perfwright.models.cpu_profiling import CpuProfilingDetails
from perfwright.models.gc_tuning import PROCESS as GC_TUNING
from perfwright.models.gc_tuning import GcDetails
from perfwright.models.index_strategy import PROCESS as INDEX_STRATEGY
from perfwright.models.index_strategy import IndexStrategyDetails
from perfwright.models.query_performance import PROCESS as QUERY_PERFORMANCE
from perfwright.models.query_performance import QueryPerformanceDetails
from perfwright.models.report import ReportExtras, TableFigure
from perfwright.models.result import ProcessResult, ReportRefs, ReportToPublish
from perfwright.report import cpu_optimization, cpu_profiling, gc_tuning, index_strategy, query_performance
from perfwright.report.repeating import start_again

EXTRAS: dict[str, tuple[Any, Callable[[Any], ReportExtras]]] = {
    CPU_OPTIMIZATION: (ProcessResult[CpuOptimizationDetails], cpu_optimization.report_extras),
    CPU_PROFILING: (ProcessResult[CpuProfilingDetails], cpu_profiling.report_extras),
    GC_TUNING: (ProcessResult[GcDetails], gc_tuning.report_extras),
    INDEX_STRATEGY: (ProcessResult[IndexStrategyDetails], index_strategy.report_extras),
    QUERY_PERFORMANCE: (ProcessResult[QueryPerformanceDetails], query_performance.report_extras),
}
"""What each process adds to the common report."""


class Reports:
    """Renders and stores reports."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    @activity.defn
    async def publish_report(self, request: ReportToPublish) -> ReportRefs:
        """Write the report's three forms; the same run again replaces them."""
        from perfwright.report.render import render_html, render_json, render_markdown  # here: workers start without template engines

        model, extras_of = EXTRAS[str(request.result["process"])]
        result = model.model_validate_json(json.dumps(request.result))
        extras = extras_of(result.details)
        data = await self._figure_data(extras)
        repeat = start_again(result.process, result.request)
        html = render_html(result, extras, request.run, repeat, data)
        markdown = render_markdown(result, extras, request.run, repeat)
        prefix, title = request.artifact_prefix, f"Report of {request.run}"
        return ReportRefs(
            html=await self._artifacts.put(f"{prefix}/report.html", html.encode(), "text/html", title),
            markdown=await self._artifacts.put(f"{prefix}/report.md", markdown.encode(), "text/markdown", title),
            data=await self._artifacts.put(f"{prefix}/result.json", render_json(result).encode(), "application/json", title),
        )

    async def _figure_data(self, extras: ReportExtras) -> dict[str, bytes]:
        return {figure.data.uri: await self._artifacts.get(figure.data) for figure in extras.figures if not isinstance(figure, TableFigure)}
