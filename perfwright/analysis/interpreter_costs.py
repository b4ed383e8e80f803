"""What a profile can say of a program whose interpreter perf recorded: how much is the interpreter's own work, and no advice about that.

Whoever runs a Perl program cannot change `Perl_pp_reverse`. Costs inside an interpreter are listed as `information`, and nothing is
recommended for them; what compiled libraries do for the program, and what the kernel does, is told as for any program.
"""

from collections.abc import Sequence

import numpy as np

from perfwright.analysis.frames import module_of, short_function
from perfwright.analysis.hot_paths import OnCpu
from perfwright.analysis.interpreters import Interpreter, is_c_runtime
from perfwright.analysis.tree_weights import Mask
from perfwright.models.finding import SEVERITIES, Finding, Recommendation


def inside_share(seen: OnCpu, interpreter: Interpreter) -> float:
    """Share of the CPU time, 0 to 1, that the interpreter spends itself or in the C library; 0 where nothing was sampled."""
    tree = seen.tree
    owned, serves = (mask[tree.frame] for mask in _masks(seen, interpreter))
    inside = np.zeros(len(owned), dtype=bool)
    for level in tree.levels:
        above = tree.parent[level]
        inside[level] = np.where(serves[level], np.where(above >= 0, inside[above], True), owned[level])
    own = tree.own(seen.rows)
    whole = float(own.sum())
    return float(own[inside].sum()) / whole if whole > 0 else 0.0


def without_insides(
    seen: OnCpu, findings: Sequence[Finding], recommendations: Sequence[Recommendation], interpreter: Interpreter
) -> tuple[tuple[Finding, ...], tuple[Recommendation, ...]]:
    """The same, with costs inside the interpreter as `information` and without advice about them."""
    places = _places(seen, interpreter)
    inside = {one.id for one in findings if _place(one) in places}
    said = f"That is {interpreter.name}'s own work. {interpreter.caveat}"
    told = [
        one.model_copy(update={"severity": "information", "summary": f"{one.summary} {said}"}) if one.id in inside else one
        for one in findings
    ]
    advice = tuple(one for one in recommendations if not inside.issuperset(one.finding_ids))
    return tuple(sorted(told, key=lambda one: SEVERITIES.index(one.severity))), advice


def _masks(seen: OnCpu, interpreter: Interpreter) -> tuple[Mask, Mask]:
    """By frame: the interpreter's own, and the C library's."""
    frames = seen.tree.profile.frames
    owned = [interpreter.owns(*one) for one in zip(frames.function, frames.file, frames.origin, strict=True)]
    return np.array(owned, dtype=bool), np.array([is_c_runtime(file) for file in frames.file], dtype=bool)


def _places(seen: OnCpu, interpreter: Interpreter) -> set[tuple[str, str]]:
    """Files and functions as findings show them; the function is empty where code has no names."""
    frames = seen.tree.profile.frames
    owned, serves = _masks(seen, interpreter)
    places = set()
    for number in np.flatnonzero(owned | serves).tolist():
        file = frames.file[number]
        shown = seen.files.get(file, file)
        function = module_of(frames.function[number], file)
        places |= {(shown, short_function(function, seen.runtime)), *({(shown, ""), (file, "")} if function.startswith("[") else ())}
    return places


def _place(finding: Finding) -> tuple[str, str] | None:
    """Where a cost is. Patterns of CPU use are the program's, wherever its threads stand."""
    if finding.id.startswith("pattern:") or not finding.locations:
        return None
    return finding.locations[0].file or "", finding.locations[0].function or ""
