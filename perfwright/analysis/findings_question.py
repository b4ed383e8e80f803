"""The question that every process asks at its end."""

from typing import Any

from perfwright.models.gate import GateQuestion
from perfwright.models.result import ProcessResult

FINDINGS_SHOWN, ADVICE_SHOWN = 5, 3


def findings_review(result: ProcessResult[Any]) -> GateQuestion:
    """Do the findings hold?"""
    shown = [f"**{finding.severity}** {finding.title}" for finding in result.findings[:FINDINGS_SHOWN]]
    advice = [f"To do: {one.title}" for one in result.recommendations[:ADVICE_SHOWN]]
    return GateQuestion(
        name="findings_review",
        kind="review",
        question=f"Do the findings on {result.target} hold?",
        consequence="Approval ends the run and keeps its findings; nothing is changed on the target.",
        evidence=(result.summary, *(shown or ["No finding costs enough to act on."]), *advice),
        artifacts=tuple(ref for ref in (result.report.html, result.report.markdown) if ref),
        quality_passed=all(gate.outcome == "passed" for gate in result.quality_gates),
    )
