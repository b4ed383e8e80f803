"""What is decided of a statement once all its entries are together: its samples, its safety, and whether a plan can be asked for."""

from perfwright.analysis.statements.generic_text import generic_text
from perfwright.analysis.statements.merging import Merged
from perfwright.analysis.statements.parsing import ParsedStatement, Unreadable, fingerprint_of, first_word_kind, normalized_text
from perfwright.analysis.statements.safety import Judgement, SafetyJudge, utility_name, worst
from perfwright.analysis.statements.samples import choose_samples, runnable
from perfwright.analysis.statements.tree import TooDeep
from perfwright.models.database import Catalog
from perfwright.models.statement import STATEMENT_CHARACTERS, Statement, StatementSample

NO_VALUES = "it has no values"


class Finisher:
    """Makes the `Statement` of what was merged, for one PostgreSQL database."""

    def __init__(self, judge: SafetyJudge, catalog: Catalog | None, version_number: int) -> None:
        self._judge = judge
        self._catalog = catalog
        self._version_number = version_number

    def finished(self, merged: Merged, share: float) -> Statement:
        """Complete. Its safety is the worst of all its texts: a fingerprint leaves out what stands deep in a tree, and digits in names."""
        plain, parsed = merged.statement(share), merged.parsed
        if parsed is None:
            return self._unreadable(merged, plain)
        no_plan = _no_plan(parsed)
        samples = () if no_plan else self._samples(merged, parsed)
        judgement = worst([*merged.judged.values(), *(self._judge_sample(one, merged) for one in samples)])
        text = plain.text
        if (samples or no_plan) and len(text) > STATEMENT_CHARACTERS:
            # The samples have it whole; a statement without any needs all of its text for a generic plan.
            text = text[:STATEMENT_CHARACTERS]
        decided = {"text": text, "safety": judgement.safety, "safety_reason": judgement.reason, "samples": samples}
        return plain.model_copy(update=decided | {"not_explainable": no_plan})

    def _unreadable(self, merged: Merged, plain: Statement) -> Statement:
        reason, kind = merged.unreadable or "its text is not known", first_word_kind(merged.text)
        if merged.utility:
            reason = f"{merged.utility} has no plan"
        decided = {"text": plain.text[:STATEMENT_CHARACTERS], "kind": kind, "safety": "never", "safety_reason": reason}
        return plain.model_copy(update=decided | {"not_explainable": reason})

    def _samples(self, merged: Merged, parsed: ParsedStatement) -> tuple[StatementSample, ...]:
        usable = [one for one in merged.samples if self._fits(one, merged)]
        if not usable and "$" not in parsed.text and merged.sources:
            # Without values there is nothing to fill in: the text itself is the call.
            usable = [StatementSample(text=parsed.text, source=next(iter(merged.sources)), note=NO_VALUES)]
        return choose_samples(usable)

    def _fits(self, sample: StatementSample, merged: Merged) -> bool:
        """Whether it is a call of this statement that can be run: what a log has may be cut, or have lost its parameters."""
        try:
            if normalized_text(sample.text) not in merged.judged and fingerprint_of(sample.text) != merged.fingerprint:
                return False
            return runnable(sample)
        except (Unreadable, TooDeep):
            return False

    def _judge_sample(self, sample: StatementSample, merged: Merged) -> Judgement:
        key = normalized_text(sample.text) or sample.text
        known = merged.judged.get(key)
        if known is None:
            known = merged.judged[key] = self._judge.judge_text(sample.text)
        return known

    def explainable(self, statement: Statement) -> Statement:
        """With types at its `$n` where the server could not tell them: they come from the catalog."""
        if statement.samples or statement.not_explainable:
            return statement
        try:
            text = generic_text(statement.text, self._catalog, version_number=self._version_number)
        except Unreadable:
            return statement
        return statement if text == statement.text else statement.model_copy(update={"text": text})


def _no_plan(parsed: ParsedStatement) -> str:
    if parsed.multiple:
        return f"{parsed.statements} statements in one text: EXPLAIN takes one"
    if parsed.too_deep:
        return "it is nested too deeply to be read"
    if parsed.kind == "utility":
        return f"{utility_name(parsed.node)} has no plan"
    return ""
