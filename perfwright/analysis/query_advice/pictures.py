"""Which plans of a run are drawn: one per statement, the one that was hit most; statements with hits first."""

from collections import Counter
from collections.abc import Sequence

from perfwright.analysis.mysql.judge import mysql_picture
from perfwright.analysis.mysql.plan import NotAPlan as NotAMysqlPlan
from perfwright.analysis.mysql.plan import parse_plan as parse_mysql_plan
from perfwright.analysis.plans.picture import picture_of
from perfwright.analysis.plans.plan_tree import NotAPlan, parse_plan
from perfwright.models.database import DatabaseSystem
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import PlanSet, TakenPlan
from perfwright.models.report import PlanPicture


def pictures_of(hits: Sequence[PlanHit], plans: PlanSet, chosen: Sequence[str], most: int) -> dict[str, PlanPicture]:
    """Fingerprint -> picture, for at most `most` statements: those with hits in the order of their share, then as they were chosen."""
    by_statement: dict[str, list[PlanHit]] = {}
    for hit in hits:
        by_statement.setdefault(hit.fingerprint, []).append(hit)
    known = {one.fingerprint: one for one in plans.statements if one.plans}
    order = [name for name in dict.fromkeys((*chosen, *by_statement, *known)) if name in known]
    order.sort(key=lambda name: name not in by_statement)
    found: dict[str, PlanPicture] = {}
    for name in order:
        if len(found) == most:
            break
        taken = known[name].plans
        sample = _sample(by_statement.get(name, []), len(taken))
        of_sample = [hit for hit in by_statement.get(name, []) if hit.sample == sample]
        picture = _picture(taken[sample], of_sample, plans.database.system)
        if picture is not None:
            found[name] = picture
    return found


def _picture(taken: TakenPlan, hits: Sequence[PlanHit], system: DatabaseSystem) -> PlanPicture | None:
    """None of a document that is no plan."""
    try:
        if system == "postgresql":
            return picture_of(parse_plan(taken.plan), hits, taken.mode, execution_ms=taken.execution_ms)
        return mysql_picture(parse_mysql_plan(taken.plan), hits, taken.mode, execution_ms=taken.execution_ms)
    except (NotAPlan, NotAMysqlPlan):
        return None


def _sample(hits: Sequence[PlanHit], count: int) -> int:
    """The one with most hits; without any the middle one."""
    counts = Counter(hit.sample for hit in hits if 0 <= hit.sample < count)
    return counts.most_common(1)[0][0] if counts else count // 2
