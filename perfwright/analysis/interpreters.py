"""Interpreters and virtual machines whose programs no tool here reads in their own language.

perf records them as what they are, compiled programs. It names their C functions; which line of the program keeps these busy it does not
see. So they are told by name, with what does show the program's lines, and what is theirs in a profile is known from files and names.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace

from perfwright.analysis.frames import is_nameless
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.profile import Origin

_C_RUNTIME = re.compile(r"^(libc|libm|libpthread|libdl|librt|ld-linux|ld-musl|libstdc\+\+|libgcc_s|libjemalloc|libtcmalloc|libmimalloc)\b")
_SOURCE = re.compile(r"\.(c|h|cc|hh|cpp|hpp|cxx|inc|def|rs|y|S)$")
"""What a frame has for its file where debug information tells it; the executable or library is not told then."""
_INSIDE = " inside "


@dataclass(frozen=True)
class Interpreter:
    """One of them. `programs` matches the whole name of its executable, `libraries` the beginning of a shared object that has it inside,
    `functions` the beginning of its functions' names."""

    name: str
    programs: str
    libraries: str
    functions: str
    shown_by: str
    """Completes "Those are shown by ..."."""
    embedded: bool = False
    """It is a library of a program that does other work as well, such as a web server."""

    @property
    def caveat(self) -> str:
        """Two sentences."""
        unseen = f"perf sees what {self.name} itself is busy with, not which lines of the program keep it busy"
        return f"{unseen}. Those are shown by {self.shown_by}."

    def owns(self, function: str, file: str, origin: Origin) -> bool:
        """Whether a frame is the interpreter's own code, or what it compiled while it ran and gave no name."""
        name = _base(file)
        if re.fullmatch(self.programs, name) or re.match(self.libraries, name):
            return True
        if _SOURCE.search(file):
            return (origin == "user" and not self.embedded) or bool(re.match(self.functions, function))
        return is_nameless(function, file) and file.startswith("[") and origin != "kernel"


INTERPRETERS = (
    Interpreter("PyPy", r"pypy[\d.]*(-c)?", r"libpypy", r"pypy", "vmprof"),
    Interpreter("Ruby", r"ruby[\d.]*", r"libruby", r"rb_|ruby_|vm_", "rbspy or Stackprof"),
    Interpreter("PHP", r"php(-fpm|-cgi|dbg)?[\d.]*", r"libphp[\d.]*\.so", r"zend_|php_|execute_ex|ZEND_", "phpspy, Excimer or XHProf"),
    Interpreter(
        ".NET",
        r"dotnet|mono(-sgen)?[\d.]*",
        r"lib(coreclr|clrjit|clrgc|mono\w*-)",
        r"mono_",
        "dotnet-trace, or by perf where the program is started with DOTNET_PerfMapEnabled=1",
    ),
    Interpreter(
        "BEAM (Erlang, Elixir)",
        r"beam(\.\w+)*",
        r"beam\.smp",
        r"erts_|beam_|process_main",
        "eprof or fprof, or by perf where the virtual machine is started with +JPperf true",
    ),
    Interpreter("Perl", r"perl[\d.]*", r"libperl\.so", r"Perl_|S_|perl_", "Devel::NYTProf"),
    Interpreter("Lua", r"(texlua|lua|luajit)[\d.]*(-.*)?", r"liblua", r"lua[A-Z_]|lj_", "LuaJIT's jit.p, or a hook of debug.sethook"),
    Interpreter("R", r"R", r"libR\.so", r"Rf_|R_|bcEval", "Rprof"),
)


def recognise(executable: str, mapped: Iterable[str]) -> str:
    """`Perl`, `PHP inside apache2`: what runs a program that does not read like others; empty for all others.

    `mapped`: the files that the process maps.
    """
    program = _base(executable)
    if found := next((one for one in INTERPRETERS if re.fullmatch(one.programs, program)), None):
        return found.name
    names = {_base(file) for file in mapped}
    inside = next((one.name for one in INTERPRETERS if any(re.match(one.libraries, name) for name in names)), "")
    return f"{inside}{_INSIDE}{program}" if inside else ""


def interpreter_in(process: TargetProcess) -> Interpreter | None:
    """The interpreter that is examined in place of the program; None where stacks are the program's own."""
    if process.runtime != "native":
        return None
    name, inside, _ = process.runtime_version.partition(_INSIDE)
    return next((replace(one, embedded=bool(inside)) for one in INTERPRETERS if one.name == name), None)


def is_c_runtime(file: str) -> bool:
    """The libraries that programs allocate, copy and compare with: their work is their callers'."""
    return bool(_C_RUNTIME.match(_base(file)))


def _base(file: str) -> str:
    return file.rsplit("/", 1)[-1].removesuffix(" (deleted)")
