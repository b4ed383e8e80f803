"""How a run ended: the verdict, what was found, where the report is, and the exit code."""

from typing import TYPE_CHECKING, Any

from starter.cli.output import VERDICT_STYLES, console, facts, heading, lines, table

if TYPE_CHECKING:
    from perfwright.models.artifact import ArtifactRef
    from perfwright.models.result import ProcessResult
    from starter.here import Here

EXIT_CODES = {"passed": 0, "failed": 1, "inconclusive": 3, "rejected": 4, "cancelled": 5}
SHOWN_FINDINGS = 5
SEVERITY_STYLES = {"critical": "red", "high": "red", "medium": "yellow", "low": "", "information": "dim"}


async def show_outcome(result: "ProcessResult[Any]", here: "Here", *, findings: int = SHOWN_FINDINGS) -> None:
    """The verdict in a sentence, the costliest findings, what to do first, and the report."""
    from rich.text import Text

    from perfwright.report.words import estimate

    out = console()
    out.print(Text(result.verdict.upper(), style=f"bold {VERDICT_STYLES[result.verdict]}") + Text(f"  {result.summary}", style="bold"))
    if not result.reviewed:
        lines(["No person has reviewed it: the evidence stands as it is."])
    if result.findings:
        heading("Findings")
        rows = [
            (
                (one.severity, SEVERITY_STYLES[one.severity]),
                one.title,
                one.locations[0].title if one.locations else "",
                estimate(one.cost) if one.cost else "",
            )
            for one in result.findings[:findings]
        ]
        table(["severity", "finding", "where", "costs"], rows, empty="")
        if len(result.findings) > findings:
            lines([f"and {len(result.findings) - findings} more in the report"], style="dim")
    if result.recommendations:
        heading("What to do first")
        advice = [(one.title, estimate(one.expected_gain), one.effort) for one in result.recommendations[:3]]
        table(["recommendation", "gain", "effort"], advice, empty="")
    missed = [gate for gate in result.quality_gates if gate.outcome != "passed"]
    if missed:
        heading("Quality gates that did not pass")
        lines([f"{gate.name}: {gate.outcome}{f' ({gate.note})' if gate.note else ''}" for gate in missed])
    heading("Report")
    facts(
        {
            "HTML": await where(result.report.html, here),
            "Markdown": await where(result.report.markdown, here),
            "JSON": await where(result.report.data, here),
        },
        whole=True,
    )


async def where(ref: "ArtifactRef | None", here: "Here") -> str:
    """The path of an artifact on this machine, or its name in the store."""
    from starter.refusals import NoStoreHere, Refused

    if ref is None:
        return ""
    try:
        return str(await here.local_file(ref))
    except (NoStoreHere, Refused) as trouble:
        return f"{ref.uri} in the artifact store ({trouble.what_happened})"
