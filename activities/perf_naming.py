"""What perf's frames are called: by debug information, by symbols, and where both are missing by what is known of the code.

A stripped program still says where each function begins, so that its functions stay apart: `[liblzma.so.5.4.1+0x6a40]` is the one at that
address, as `objdump -d` shows it. Code that is written into memory is told by the program that wrote it, the kernel's by that it is the
kernel's. What is needed to find the names (build id, package, distribution) is added to the profile.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from activities.elf_files import ElfFile, read_elf
from activities.perf_frames import KERNEL_OBJECT, UNKNOWN, Line, MappedFiles, RawFrame, source_lines
from activities.symbol_packages import package_of, systems_of
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import CodeFacts, frame_origin, module_of, nameless_function
from perfwright.models.profile import NamelessCode, NamelessKind, Origin
from perfwright.models.vocabulary import Model

GENERATED = "[generated]"
"""File of code that no file holds."""
_IN_MEMORY = re.compile(r"^(/tmp/perf-\d+\.map$|/memfd:|/dev/zero|/anon_hugepage|/SYSV|//anon|\[(anon|heap|stack|JIT))")
"""Objects that hold code written by the process itself; perf names anonymous memory after the map that a compiler may have left."""


class SliceFacts(Model):
    """What was known of the program while its slice was recorded."""

    runtime: str
    executable: str
    """Path of the target's program."""
    threads: dict[str, str] = {}
    """Names by thread id."""
    programs: dict[str, str] = {}
    """Names of the programs by process id."""
    root: str = ""
    """Of the target's file system, where it is not ours."""
    replaced: dict[str, str] = {}
    """Mapped files that are no longer at their path, and where they can be read."""
    unwound: bool = False
    """Stacks were unwound by the program's tables; otherwise frame pointers were followed."""


class FrameNaming:
    """Names the frames of one slice."""

    def __init__(self, builder: ProfileBuilder, facts: SliceFacts, stacks: Sequence[Sequence[RawFrame]]) -> None:
        self._builder, self._facts = builder, facts
        self._files = MappedFiles(facts.root, facts.replaced)
        self._lines = source_lines(stacks, self._files)
        self._code = CodeFacts(executable=facts.executable if facts.runtime == "native" else "")
        self._known: dict[tuple[RawFrame, int], tuple[int, ...]] = {}

    def frames_of(self, stack: Sequence[RawFrame], pid: int) -> list[int]:
        """The builder's frames, outermost first; `stack` is leaf first."""
        return [frame for raw in reversed(stack) for frame in self._frames_at(raw, pid)]

    def _frames_at(self, raw: RawFrame, pid: int) -> tuple[int, ...]:
        if (known := self._known.get((raw, pid))) is None:
            known = self._known[(raw, pid)] = tuple(self._named(raw, pid))
        return known

    def _named(self, raw: RawFrame, pid: int) -> list[int]:
        path = self._files.path_of(raw)
        lines: list[Line] = self._lines.get((path, raw.address), []) if path else []
        if lines and (lines[0][1] or not raw.named):
            told = [(function, file or raw.object, line) for function, file, line in lines]
            return [self._builder.frame(*one, frame_origin("native", one[0], raw.object, self._code)) for one in told]
        if raw.named:
            return [self._builder.frame(raw.symbol, raw.object, 0, frame_origin("native", raw.symbol, raw.object, self._code))]
        return [self._nameless(raw, pid, path)]

    def _nameless(self, raw: RawFrame, pid: int, path: Path | None) -> int:
        origin: Origin = "kernel" if raw.kernel else "native"
        elf = read_elf(path) if path else ElfFile()
        kind, module, file = self._kind(raw, pid, path)
        start = elf.function_at(raw.address) if kind in ("stripped", "replaced") else None
        function = nameless_function(module, start)
        of_all = module_of(function, file)
        if not self._builder.knows_nameless(of_all, file):
            ours = kind == "stripped" and not (raw.deleted or self._facts.root)
            self._builder.add_nameless(
                NamelessCode(
                    file=file,
                    module=of_all,
                    kind=kind,
                    build_id=elf.build_id,
                    package=package_of(file) if ours else "",
                    systems=systems_of(self._facts.root),
                    is_go=elf.is_go,
                )
            )
        return self._builder.frame(function, file, 0, origin)

    def _kind(self, raw: RawFrame, pid: int, path: Path | None) -> tuple[NamelessKind, str, str]:
        """Why it has no name, its module's name, and its file."""
        if raw.kernel:
            inside = raw.object not in (UNKNOWN, KERNEL_OBJECT)
            return "kernel", raw.object.strip("[]") if inside else "kernel", raw.object if inside else KERNEL_OBJECT
        if _IN_MEMORY.search(raw.object):
            return "generated", f"jit of {self._facts.programs.get(str(pid)) or 'the program'}", GENERATED
        if raw.object == UNKNOWN or not raw.object.startswith("/"):
            return "unmapped", raw.object.strip("[]"), raw.object
        kind: NamelessKind = "replaced" if raw.deleted and path is None else "stripped"
        return kind, Path(raw.object).name, raw.object
