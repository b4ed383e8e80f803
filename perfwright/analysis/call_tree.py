"""Many slices of stacks become one columnar `Profile`, and the profile becomes bytes and back.

Stacks share their prefixes in a call tree, so a sample costs one dictionary look-up and a profile of millions of samples stays small.
Everything is bounded: depth by leaving out the middle of a stack, nodes by folding rare stacks into `[rare stacks]` under the frame they
share, rows by joining neighbouring blocks. What was given up is told by `ProfileBuilder.notes` and stays visible as frames of the profile;
no sample is ever lost.

NumPy is imported by the functions that use it: what reads a tool's files names `ProfileBuilder`, also in a worker that only starts.
"""

import gzip
import io
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from perfwright.models.profile import Frames, NamelessCode, Nodes, Origin, PassKind, Profile, ProfilePass, ThreadRef

if TYPE_CHECKING:
    from perfwright.analysis.tree_weights import Ints

    Columns = tuple[Ints, Ints, Ints, Ints]
    """Node, thread, block and count."""

RARE_STACKS = "[rare stacks]"
"""Frame that stands for stacks too rare to keep apart; it hangs under the deepest frame that was kept."""
LEFT_OUT = "[frames left out]"
"""Frame that stands for the middle of a stack deeper than `MAX_DEPTH`."""
MAX_DEPTH = 512
"""Deeper stacks are runaway recursion, which no reader and no browser follows frame by frame."""
MAX_NODES = 1_000_000
"""200,000 distinct stacks of a large program need about half of it; a profile at the bound is about 10 MB compressed."""
MAX_ROWS = 2_500_000
"""Rows (node, thread, block) of one pass: 2 million samples that are all different still fit."""
MAX_DECODED_BYTES = 256 * 1024 * 1024
"""A profile at its bounds is about 100 MB of JSON; more than this is not one of ours."""
_NODE_BITS, _THREAD_BITS, _FRAME_BITS = 24, 20, 24
"""Node, thread and block are packed into one integer: a dictionary of millions of tuples would take a gigabyte."""
_FEWEST_BLOCKS = 32
"""Blocks are not joined below this: the bootstrap needs them."""


class ProfileTooLarge(ValueError):
    """Encoded profile that would not fit into memory when decoded."""


class _PassRows:
    """Samples of one pass while they are collected."""

    def __init__(self, rate_hz: float) -> None:
        self.rate_hz = rate_hz
        """Of the slice that is being read."""
        self.failed_samples = 0
        self.lines_reliable = True
        self.block_seconds: list[float] = []
        self.block_ticks: list[float] = []
        self.shift = 0
        """Block numbers are shifted right by this: 1 means that pairs of blocks were joined."""
        self.counts: dict[int, int] = {}

    def join_blocks(self) -> None:
        self.shift += 1
        low = (1 << (_NODE_BITS + _THREAD_BITS)) - 1
        joined: dict[int, int] = {}
        for key, count in self.counts.items():
            block = key >> (_NODE_BITS + _THREAD_BITS)
            merged = ((block >> 1) << (_NODE_BITS + _THREAD_BITS)) | (key & low)
            joined[merged] = joined.get(merged, 0) + count
        self.counts = joined

    @property
    def one_rate(self) -> bool:
        return all(ticks == seconds * self.rate_hz for ticks, seconds in zip(self.block_ticks, self.block_seconds, strict=True))

    def seconds_by_block(self) -> list[float]:
        return self._joined(self.block_seconds)

    def rates_by_block(self) -> list[float]:
        """Empty where all are the same."""
        if self.one_rate:
            return []
        return [
            ticks / seconds if seconds else self.rate_hz
            for ticks, seconds in zip(self._joined(self.block_ticks), self.seconds_by_block(), strict=True)
        ]

    def mean_rate_hz(self) -> float:
        seconds = sum(self.block_seconds)
        return sum(self.block_ticks) / seconds if seconds and not self.one_rate else self.rate_hz

    def _joined(self, values: list[float]) -> list[float]:
        size = 1 << self.shift
        return [sum(values[start : start + size]) for start in range(0, len(values), size)]


class ProfileBuilder:
    """Collects stacks from any tool, in any number of slices.

        builder = ProfileBuilder(tool="py-spy 0.4.3")
        builder.begin("on_cpu", rate_hz=99)
        thread = builder.thread(pid=4711, tid=4712, name="worker")
        main = builder.frame("main", "/srv/shop/app.py", 12, "user")
        block = builder.add_block("on_cpu", seconds=1.0)
        builder.add("on_cpu", [main], thread, block, count=3)       # stack from root to leaf
        profile = builder.build()

    `frame`, `thread` and `node` give the same number for the same thing. `node` once and `add_node` many times is the fast way for
    tools that aggregate stacks themselves.
    """

    def __init__(self, tool: str, *, max_nodes: int = MAX_NODES, max_rows: int = MAX_ROWS, max_depth: int = MAX_DEPTH) -> None:
        if not 3 <= max_nodes <= 1 << (_NODE_BITS - 3):
            raise ValueError(f"max_nodes: 3 to {1 << (_NODE_BITS - 3)} is allowed, {max_nodes} given")
        if max_rows < 1 or max_depth < 4:
            raise ValueError("max_rows: at least 1, max_depth: at least 4")
        self.tool = tool
        self._max_nodes, self._max_rows, self._max_depth = max_nodes, max_rows, max_depth
        self._frame_ids: dict[tuple[str, str, int, Origin], int] = {}
        self._thread_ids: dict[tuple[int, int | None, str], int] = {}
        self._children: dict[int, int] = {}
        self._parent: list[int] = []
        self._frame: list[int] = []
        self._passes: dict[PassKind, _PassRows] = {}
        self._nameless: dict[tuple[str, str], NamelessCode] = {}
        self._notes: dict[str, None] = {}
        self.recording_cpu_s = 0.0
        """CPU time that the target used to be recorded."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What was folded to keep the profile within its bounds, as sentences; complete after `build`."""
        return tuple(self._notes)

    def samples(self, kind: PassKind) -> int:
        """Samples collected for one pass so far."""
        rows = self._passes.get(kind)
        return sum(rows.counts.values()) if rows else 0

    def begin(self, kind: PassKind, rate_hz: float, *, lines_reliable: bool = True) -> None:
        """Open a pass, or go on with it in another slice, at the same rate or another; a count is a tick of its slice's 1/rate_hz."""
        if not rate_hz > 0:
            raise ValueError(f"rate_hz: above 0, {rate_hz} given")
        rows = self._passes.setdefault(kind, _PassRows(rate_hz))
        rows.rate_hz = rate_hz
        rows.lines_reliable = rows.lines_reliable and lines_reliable

    def add_block(self, kind: PassKind, seconds: float) -> int:
        """A contiguous piece of recording time of this pass; gives its number."""
        rows = self._pass(kind)
        rows.block_seconds.append(seconds)
        rows.block_ticks.append(seconds * rows.rate_hz)
        return len(rows.block_seconds) - 1

    def add_failed(self, kind: PassKind, count: int) -> None:
        """Samples that the tool could not take or read."""
        self._pass(kind).failed_samples += count

    def thread(self, pid: int, tid: int | None = None, name: str = "") -> int:
        if len(self._thread_ids) >= 1 << _THREAD_BITS:
            tid, name = None, "[other threads]"
        return self._thread_ids.setdefault((pid, tid, name), len(self._thread_ids))

    def frame(self, function: str, file: str = "", line: int = 0, origin: Origin = "unknown") -> int:
        return self._frame_ids.setdefault((function, file, line, origin), len(self._frame_ids))

    def node(self, stack: Sequence[int]) -> int:
        """The call-tree node where this stack of frame ids, root to leaf, ends."""
        if not stack:
            raise ValueError("a stack has at least one frame")
        if len(stack) > self._max_depth:
            self._notes[f"Stacks deeper than {self._max_depth} frames lost their middle."] = None
            head = self._max_depth // 4
            stack = [*stack[:head], self.frame(LEFT_OUT), *stack[len(stack) - (self._max_depth - head - 1) :]]
        children, node = self._children, -1
        for frame in stack:
            key = ((node + 1) << _FRAME_BITS) | frame
            child = children.get(key)
            if child is None:
                if len(self._parent) >= 3 * self._max_nodes:
                    return self._rare(node)
                child = self._new_node(node, frame)
            node = child
        return node

    def add(self, kind: PassKind, stack: Sequence[int], thread: int, block: int, count: int = 1) -> None:
        """Samples of one stack (frame ids, root to leaf) in one block."""
        self.add_node(kind, self.node(stack), thread, block, count)

    def knows_nameless(self, module: str, file: str) -> bool:
        return (module, file) in self._nameless

    def add_nameless(self, code: NamelessCode) -> None:
        """What is known of code whose functions have no names; once per module and file."""
        self._nameless.setdefault((code.module, code.file), code)

    def add_node(self, kind: PassKind, node: int, thread: int, block: int, count: int = 1) -> None:
        """The same for a stack whose node is known."""
        rows = self._pass(kind)
        if not (0 <= node < len(self._parent) and 0 <= thread < len(self._thread_ids) and 0 <= block < len(rows.block_seconds)):
            raise ValueError(f"unknown node {node}, thread {thread} or block {block} of pass {kind}")
        if count <= 0:
            if count < 0:
                raise ValueError(f"count: at least 0, {count} given")
            return
        key = (((block >> rows.shift) << _THREAD_BITS) | thread) << _NODE_BITS | node
        rows.counts[key] = rows.counts.get(key, 0) + count
        if len(rows.counts) > self._max_rows and len(rows.block_seconds) >> rows.shift > _FEWEST_BLOCKS:
            rows.join_blocks()
            self._notes[f"Blocks of the {kind} pass were joined: it had too many different samples to keep every second apart."] = None

    def build(self) -> Profile:
        """The profile. The builder may go on collecting afterwards."""
        import numpy as np

        parent, frame = np.array(self._parent, dtype=np.int64), np.array(self._frame, dtype=np.int64)
        passes = {kind: _columns(rows) for kind, rows in self._passes.items()}
        if len(parent) > self._max_nodes:
            parent, frame, moved, folded = _fold_rare(parent, frame, passes, self._max_nodes, self.frame(RARE_STACKS))
            passes = {kind: _regroup(moved[node], thread, block, count) for kind, (node, thread, block, count) in passes.items()}
            self._notes[f"Rare stacks ({folded:.2%} of all samples) were folded into `{RARE_STACKS}` under the frame they share."] = None
        functions, files, lines, origins = _transposed(self._frame_ids)
        return Profile(
            tool=self.tool,
            frames=Frames(function=functions, file=files, line=lines, origin=origins),
            nodes=Nodes(parent=parent.tolist(), frame=frame.tolist()),
            threads=[ThreadRef(pid=pid, tid=tid, name=name) for pid, tid, name in self._thread_ids],
            passes=[
                ProfilePass(
                    kind=kind,
                    rate_hz=rows.mean_rate_hz(),
                    seconds=sum(rows.block_seconds),
                    block_seconds=rows.seconds_by_block(),
                    block_rate_hz=rows.rates_by_block(),
                    node=passes[kind][0].tolist(),
                    thread=passes[kind][1].tolist(),
                    block=passes[kind][2].tolist(),
                    count=passes[kind][3].tolist(),
                    failed_samples=rows.failed_samples,
                    lines_reliable=rows.lines_reliable,
                )
                for kind, rows in self._passes.items()
            ],
            nameless=[self._nameless[key] for key in sorted(self._nameless)],
            recording_cpu_s=self.recording_cpu_s,
        )

    def _pass(self, kind: PassKind) -> _PassRows:
        if kind not in self._passes:
            raise ValueError(f"pass {kind} was not begun")
        return self._passes[kind]

    def _new_node(self, parent: int, frame: int) -> int:
        node = len(self._parent)
        self._children[((parent + 1) << _FRAME_BITS) | frame] = node
        self._parent.append(parent)
        self._frame.append(frame)
        return node

    def _rare(self, node: int) -> int:
        self._notes[f"There were too many different stacks: new ones went into `{RARE_STACKS}` under the frame they share."] = None
        rare = self.frame(RARE_STACKS)
        child = self._children.get(((node + 1) << _FRAME_BITS) | rare)
        return self._new_node(node, rare) if child is None else child


def encode_profile(profile: Profile) -> bytes:
    """Gzipped JSON, the same bytes for the same profile. Raises ProfileTooLarge beyond `MAX_DECODED_BYTES`."""
    text = profile.model_dump_json().encode()
    if len(text) > MAX_DECODED_BYTES:
        raise ProfileTooLarge(f"the profile takes {len(text)} bytes; at most {MAX_DECODED_BYTES} are kept")
    return gzip.compress(text, compresslevel=4, mtime=0)


def decode_profile(data: bytes) -> Profile:
    """What `encode_profile` made. Raises ProfileTooLarge, or ValueError where it is not a profile."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(MAX_DECODED_BYTES + 1)
    except (OSError, EOFError) as trouble:
        raise ValueError(f"not a gzipped profile: {trouble}") from trouble
    if len(text) > MAX_DECODED_BYTES:
        raise ProfileTooLarge(f"the profile is larger than {MAX_DECODED_BYTES} bytes")
    return Profile.model_validate_json(text)


def _columns(rows: _PassRows) -> "Columns":
    """Node, thread, block and count of a pass, ordered by block, thread and node so that equal recordings give equal bytes."""
    import numpy as np

    keys = np.fromiter(rows.counts.keys(), dtype=np.int64, count=len(rows.counts))
    counts = np.fromiter(rows.counts.values(), dtype=np.int64, count=len(rows.counts))
    order = np.argsort(keys, kind="stable")
    keys, counts = keys[order], counts[order]
    node = keys & ((1 << _NODE_BITS) - 1)
    thread = (keys >> _NODE_BITS) & ((1 << _THREAD_BITS) - 1)
    return node, thread, keys >> (_NODE_BITS + _THREAD_BITS), counts


def _regroup(node: "Ints", thread: "Ints", block: "Ints", count: "Ints") -> "Columns":
    """Rows that became equal are added up."""
    import numpy as np

    keys = ((block << _THREAD_BITS) | thread) << _NODE_BITS | node
    keys, inverse = np.unique(keys, return_inverse=True)
    summed = np.bincount(inverse, weights=count, minlength=len(keys)).astype(np.int64)
    return keys & ((1 << _NODE_BITS) - 1), (keys >> _NODE_BITS) & ((1 << _THREAD_BITS) - 1), keys >> (_NODE_BITS + _THREAD_BITS), summed


def _fold_rare(
    parent: "Ints", frame: "Ints", passes: "dict[PassKind, Columns]", max_nodes: int, rare_frame: int
) -> "tuple[Ints, Ints, Ints, float]":
    """Keep the heaviest half of `max_nodes` nodes; the others move into one rare child of their nearest kept ancestor.

    Gives the new parent and frame columns, the new number of every old node, and the share of samples that moved. A parent is never lighter
    than its child, so the heaviest nodes always form a tree; each of them, and the top, has at most one rare child, which makes the bound.
    """
    import numpy as np

    from perfwright.analysis.tree_weights import levels_of, subtree_sums

    own = np.zeros(len(parent), dtype=np.int64)
    for node, _, _, count in passes.values():
        own += np.bincount(node, weights=count, minlength=len(parent)).astype(np.int64)
    levels = levels_of(parent)
    total = subtree_sums(parent, levels, own)
    kept = np.zeros(len(parent), dtype=bool)
    kept[np.argsort(-total, kind="stable")[: (max_nodes - 1) // 2]] = True
    anchor = np.arange(len(parent), dtype=np.int64)
    for level in levels:
        folded = level[~kept[level]]
        above = parent[folded]
        anchor[folded] = np.where(above < 0, -1, anchor[above])
    moved = np.cumsum(kept) - 1
    anchors, which = np.unique(anchor[~kept], return_inverse=True)
    kept_count = int(kept.sum())

    def renumbered(nodes: "Ints") -> "Ints":
        return np.where(nodes < 0, -1, moved[nodes])

    new_parent = np.concatenate([renumbered(parent[kept]), renumbered(anchors)])
    new_frame = np.concatenate([frame[kept], np.full(len(anchors), rare_frame, dtype=np.int64)])
    moved[~kept] = kept_count + which
    return new_parent, new_frame, moved, float(own[~kept].sum() / max(1, own.sum()))


def _transposed(frames: Iterable[tuple[str, str, int, Origin]]) -> tuple[list[str], list[str], list[int], list[Origin]]:
    rows = list(frames)
    return [row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows], [row[3] for row in rows]
