"""The repository's side of an optimisation: its commit laid out, its hot functions found, changes of them proposed."""

import ast
import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.calls_again import known_of, paths_of, source_in
from activities.changes.git_command import git
from activities.changes.kind import Site
from activities.code_trees import find_commit, inside, laid_out, lay_out, own_tree, owned, read_source, release, tree_folder
from activities.compute import in_own_process
from activities.heartbeats import beating
from activities.ruff_fixes import ruff_edits
from perfwright.analysis.changes.file_edits import patch_looks_secret
from perfwright.analysis.codemods.linter_edits import SAFE_FIXES, UNSAFE_FIXES
from perfwright.analysis.hot_code import HOT_SHARE, function_text, located, moved
from perfwright.models.change import PATCH_CHARACTERS as GIVEN_CHARACTERS
from perfwright.models.cpu_optimization import (
    CANDIDATES_AT_MOST,
    GIVEN,
    PATCH_CHARACTERS,
    CallsOfFunction,
    CallsRecorded,
    Candidate,
    CandidatesFound,
    CandidatesQuery,
    CodeBase,
    GivenCandidate,
    GivenOrder,
    HotCodeFound,
    HotCodeQuery,
    HotFunction,
    LeftAlone,
    PrepareCode,
    Stacked,
    StackOrder,
)
from perfwright.models.cpu_profiling import HotSpot

REPEAT = Path(__file__).parent / "call_injection" / "repeat.py"
PROFILE_MARGIN_S = 120.0
FORBIDDING_WORDS = ("setlocale", "getcontext", "setcontext", "localcontext", "DefaultContext")
"""Where they occur in the repository, something is not proven (see `codemods.purity`)."""
LEFT_TOLD = 40
GLOBALS_ASKED = 500
"""Names of a module that are looked for in the repository at once."""


class CodeCandidates:
    """Reads code and proposes changes; the repository is never written to."""

    def __init__(self, state_folder: Path, environ: Mapping[str, str]) -> None:
        self._site = Site(environ, state_folder, activity_heartbeat)

    @activity.defn
    async def prepare_code(self, order: PrepareCode) -> CodeBase:
        """Find the commit and lay its files out. Errors: TargetRefused, InvalidInput, ToolMissing."""
        request = order.request
        async with beating(lambda: {"doing": "laying the commit out"}):
            repository, commit = await find_commit(order.target, request.base, self._site)
            tree = tree_folder(self._site, order.prefix)
            await lay_out(self._site, repository, commit, tree)
            await owned(tree)
            await asyncio.to_thread(inside, tree, request.working_directory)
        return CodeBase(
            target=order.target,
            repository=str(repository),
            commit=commit,
            tree=str(tree),
            benchmark=request.benchmark,
            tests=request.tests,
            working_directory=request.working_directory,
            benchmark_limit_s=request.benchmark_limit_s,
            tests_limit_s=request.tests_limit_s,
            repeated=repeated(request.benchmark, request.profile_s + PROFILE_MARGIN_S),
            prefix=order.prefix,
        )

    @activity.defn
    async def release_code(self, code: CodeBase) -> None:
        """Remove what was laid out and recorded."""
        await asyncio.to_thread(release, Path(code.tree))

    @activity.defn
    async def locate_hot_code(self, query: HotCodeQuery) -> HotCodeFound:
        """Which hot functions are the repository's own, and where they are in it."""
        async with beating(lambda: {"doing": "finding hot functions"}):
            sources = await self._sources(query.code, query.code.commit, query.hot_paths.functions)
            return await asyncio.to_thread(located, query.hot_paths, sources)

    @activity.defn
    async def find_candidates(self, query: CandidatesQuery) -> CandidatesFound:
        """Every change that a codemod or ruff proposes in a hot function, best first; and what is left alone, with the reason."""
        async with beating(lambda: {"doing": "looking for changes"}):
            found, left = [], []
            by_path: dict[str, list[HotFunction]] = defaultdict(list)
            for function in query.functions:
                by_path[function.path].append(function)
            spoken = await self._spoken(query.code)
            for path, functions in by_path.items():
                source = await read_source(self._site, Path(query.code.repository), query.code.commit, path)
                said = spoken | await self._assigned_elsewhere(query.code, source)
                candidates, alone = await self._candidates(path, source, functions, query.calls, said)
                found += candidates
                left += alone
        worth = []
        for one in sorted(found, key=lambda one: -one.gain_share):
            if one.gain_share < query.least_gain_share:
                left.append(_left(one, f"by the profile it can win {one.gain_share:.1%} of the CPU time at most"))
            elif len(one.patch) > PATCH_CHARACTERS:
                left.append(_left(one, f"its patch has more than {PATCH_CHARACTERS:,} characters"))
            else:
                worth.append(one)
        return CandidatesFound(candidates=tuple(worth[:CANDIDATES_AT_MOST]), left_alone=tuple(left[:LEFT_TOLD]))

    @activity.defn
    async def stack_candidate(self, order: StackOrder) -> Stacked:
        """The candidate again, on what was kept meanwhile."""
        candidate = order.candidate
        async with beating(lambda: {"doing": "stacking"}):
            before, source = [
                await read_source(self._site, Path(order.code.repository), commit, candidate.path)
                for commit in (order.code.commit, order.tip)
            ]
            function, calls = await asyncio.to_thread(moved, order.function, order.calls, before, source)
            spoken = await self._spoken(order.code) | await self._assigned_elsewhere(order.code, source)
            found, left = await self._candidates(candidate.path, source, [function], calls, spoken, only=candidate.codemod)
        for one in found:
            if one.function == candidate.function:
                return Stacked(patch=one.patch)
        return Stacked(why=left[0].why if left else "what it would change is not there any more")

    @activity.defn
    async def read_given_change(self, order: GivenOrder) -> GivenCandidate:
        """A change that was submitted, or made by the team's command, as a patch on the tip; with the first recorded function in it."""
        async with beating(lambda: {"doing": "reading a change"}):
            repository = Path(order.code.repository)
            patch, ref = order.spec.patch, ""
            if order.spec.ref is not None:
                try:
                    words = ("diff", "--no-ext-diff", "--no-textconv", "--no-color", "--merge-base", order.code.commit, order.spec.ref)
                    shown = await git(self._site, repository, *words)
                    ref = await self._on_top(repository, order.tip, order.spec.ref)
                except ApplicationError as trouble:
                    return GivenCandidate(why=f"{order.spec.ref} cannot be compared with {order.code.commit[:12]}: {trouble.message[:300]}")
                patch = "" if shown.stdout_dropped_bytes else shown.stdout
            if not patch.strip() or len(patch) > GIVEN_CHARACTERS:
                return GivenCandidate(why=f"it changes nothing, or has more than {GIVEN_CHARACTERS:,} characters")
            if patch_looks_secret(patch):
                return GivenCandidate(
                    why="a line that changes looks like it holds a password or token, and changes are recorded: take it out"
                )
            try:
                await own_tree(self._site, order.code)
                async with laid_out(self._site, repository, order.tip, patch, f"{order.code.prefix} given") as tree:
                    return await asyncio.to_thread(_given, order, patch, tree, ref)
            except ApplicationError as trouble:
                return GivenCandidate(why=f"it does not apply to {order.tip[:12]}: {trouble.message[:300]}")

    async def _on_top(self, repository: Path, tip: str, ref: str) -> str:
        """The commit of a ref that stands on the tip, and so can be kept as its author made it; empty: it has to be moved there."""
        commit = (await git(self._site, repository, "rev-parse", "--verify", "--end-of-options", f"{ref}^{{commit}}")).stdout.strip()
        stands = await git(self._site, repository, "merge-base", "--is-ancestor", tip, commit, codes=(0, 1))
        return commit if stands.returncode == 0 else ""

    async def _candidates(
        self, path: str, source: str, functions: Sequence[HotFunction], calls: CallsRecorded, spoken: frozenset[str], only: str = ""
    ) -> tuple[list[Candidate], list[LeftAlone]]:
        if not source:
            return [], []
        edits = await ruff_edits(self._site, path, source) if only in ("", SAFE_FIXES, UNSAFE_FIXES) else ()
        found, left = await in_own_process(
            propose_all, path, source, tuple(functions), calls, spoken, edits, only, heartbeat=activity_beat, limit_s=300.0
        )
        return found, left

    async def _sources(self, code: CodeBase, commit: str, spots: Sequence[HotSpot]) -> dict[str, str]:
        """Python files of the commit that the profile may mean, by path."""
        repository = Path(code.repository)
        listed = await git(self._site, repository, "ls-tree", "-r", "-z", "--name-only", commit)
        names = {Path(spot.file).name for spot in spots if spot.total_share >= HOT_SHARE}
        wanted = [path for path in listed.stdout.split("\0") if path.endswith(".py") and Path(path).name in names]
        return {path: await read_source(self._site, repository, commit, path) for path in wanted[:200]}

    async def _spoken(self, code: CodeBase) -> frozenset[str]:
        found = set()
        for word in FORBIDDING_WORDS:
            seen = await git(
                self._site, Path(code.repository), "grep", "-q", "-w", "-F", "-e", word, code.commit, "--", "*.py", codes=(0, 1)
            )
            if seen.returncode == 0:
                found.add(word)
        return frozenset(found)

    async def _assigned_elsewhere(self, code: CodeBase, source: str) -> frozenset[str]:
        """`.RATE` of each global name of the module that the repository sets from outside: `price.RATE = 2`, alone or with other targets,
        `setattr(price, "RATE", 2)`, `vars(price)["RATE"] = 2`."""
        names = _globals_of(source)
        asked = sorted(filter(str.isascii, names))[:GLOBALS_ASKED]
        not_asked = frozenset(f".{name}" for name in names.difference(asked))
        if not asked:
            return not_asked
        named = f"({'|'.join(asked)})"
        patterns = (
            rf"\.{named}[[:space:]]*([-+*/%&|^@]|//|\*\*|<<|>>)?=[^=]",
            rf"^[[:space:]]*[(]?[][A-Za-z0-9_., ]*\.{named}[[:space:]]*[,:][^=(]*=[^=]",
            rf"(^|[^A-Za-z0-9_])(for|as|del)[[:space:]]+[][A-Za-z0-9_., ]*\.{named}([^A-Za-z0-9_(]|$)",
            rf"setattr\(.*[\"']{named}[\"']",
            rf"(__dict__|vars\([^()]*\))\[[\"']{named}[\"']",
        )
        words = ("grep", "-h", "-o", "-E", *(word for pattern in patterns for word in ("-e", pattern)), code.commit, "--", "*.py")
        seen = await git(self._site, Path(code.repository), *words, codes=(0, 1))
        if seen.stdout_dropped_bytes:
            return frozenset(f".{name}" for name in names)
        return not_asked | {f".{name}" for name in re.findall(r"[.\"'](\w+)", seen.stdout) if name in names}


def activity_heartbeat(*details: Any) -> None:
    if activity.in_activity():
        activity.heartbeat(*details)


def activity_beat(elapsed_s: float, _: Any) -> None:
    activity_heartbeat({"doing": "looking for changes", "elapsed_s": round(elapsed_s, 1)})


def propose_all(
    path: str,
    source: str,
    functions: tuple[HotFunction, ...],
    calls: CallsRecorded,
    spoken: frozenset[str],
    edits: "tuple[Any, ...]",
    only: str,
) -> tuple[list[Candidate], list[LeftAlone]]:
    """In a process of its own: what all codemods say of one file."""
    from perfwright.analysis.codemods.candidates import candidates_of

    return candidates_of(path, source, functions, calls, spoken, edits, only)


def _globals_of(source: str) -> set[str]:
    """Names that stand for something of the module: assigned or defined at its top."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        return set()
    found = {one.name for one in body if isinstance(one, ast.FunctionDef | ast.ClassDef)}
    assigned = [one for one in body if isinstance(one, ast.Assign | ast.AnnAssign)]
    targets = [target for one in assigned for target in (one.targets if isinstance(one, ast.Assign) else [one.target])]
    return {name for name in found | {one.id for one in targets if isinstance(one, ast.Name)} if name.isascii()}


def _given(order: GivenOrder, patch: str, tree: Path, ref: str) -> GivenCandidate:
    """Told by the first recorded function whose text differs; calls of all of them are made again."""
    paths, old = paths_of(patch), Path(order.code.tree)
    touched = next((one for one in order.calls.functions if one.path in paths and one.kept and _differs(one, old, tree)), None)
    name, mutable = known_of(touched, (old, tree)) if touched else ("", False)
    return GivenCandidate(
        candidate=Candidate(
            id=f"{GIVEN}:{order.number}",
            codemod=GIVEN,
            path=touched.path if touched else next(iter(paths), ""),
            function=name,
            line=touched.line if touched else 0,
            title=order.title[:300],
            reasoning=f"given by {order.by}; whether results and exceptions stay equal is left to the tests and the calls made again",
            gain_share=0.0,
            patch=patch,
            ref=ref,
            mutable=mutable,
        ),
        line=touched.line if touched else 0,
    )


def _differs(one: CallsOfFunction, old: Path, new: Path) -> bool:
    texts = [function_text(source_in(tree, one.path), one.function) for tree in (old, new)]
    return texts[0] != texts[1]


def repeated(command: tuple[str, ...], seconds: float) -> tuple[str, ...]:
    """The command in a loop inside one interpreter where it is a Python script or module; otherwise as it is."""
    program, words = command[0], list(command[1:])
    if not Path(program).name.startswith("python"):
        return command
    options = []
    while words and words[0].startswith("-") and words[0] not in ("-m", "-c", "-"):
        options.append(words.pop(0))
        if options[-1] in ("-X", "-W") and words:
            options.append(words.pop(0))
    if not words or words[0] in ("-c", "-"):
        return command
    return (program, *options, str(REPEAT), f"{seconds:g}", *words)


def _left(one: Candidate, why: str) -> LeftAlone:
    return LeftAlone(codemod=one.codemod, path=one.path, function=one.function, line=one.line, why=why)
