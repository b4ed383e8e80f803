"""Code whose functions have no names in a profile: why not, and how to get them.

Time in such code is measured like any other; what costs there cannot be told, so nothing is recommended but to get the names. How differs
by who built the file and for which system: debuginfod(8); Debian wiki, "How to get a backtrace"; dnf-debuginfo-install(8); perf-record(1)
for the map that a compiler leaves of what it generates. GDB, perf and addr2line look for a build's debug file below `BY_BUILD_ID`.
"""

from collections.abc import Iterable

from perfwright.models.profile import NamelessCode

BY_BUILD_ID = "/usr/lib/debug/.build-id"
_OWN_DEBUG_PACKAGES = {"libc6": "libc6-dbg", "libc6-i386": "libc6-dbg"}
"""Packages of Debian whose symbols are older than the archive of all others."""
_MAPS = (
    ("node", "start it with --perf-basic-prof"),
    ("java", "start it with -XX:+DumpPerfMapAtExit and send jcmd PID Compiler.perfmap while it runs"),
    ("python", "start it with -X perf"),
    ("dotnet", "start it with DOTNET_PerfMapEnabled=1"),
)
"""Programs that tell what they generated, and how they are made to."""


def subject_of(code: NamelessCode) -> str:
    """`liblzma.so.5.4.1`, `code that node generated`."""
    module = code.module.strip("[]")
    return {
        "stripped": module,
        "replaced": module,
        "generated": f"code that {_generator(code)} generated",
        "kernel": "the kernel" if code.module == "[kernel]" else f"the kernel's module {module}",
        "unmapped": "code at addresses of no file",
    }[code.kind]


def title_of(code: NamelessCode) -> str:
    """Begins "...: 98% of CPU time"."""
    subject = subject_of(code)
    rest = {"stripped": "has no symbols", "replaced": "was replaced while it ran, and has no names", "kernel": "hides its functions' names"}
    return f"{subject if code.kind in ('stripped', 'replaced') else subject[0].upper() + subject[1:]} {rest.get(code.kind, 'has no names')}"


def way_to_names(code: NamelessCode) -> str:
    """What to do so that the next recording has names, as sentences."""
    if code.kind == "stripped":
        return f"{_symbols_of_file(code)} Then record again."
    if code.kind == "replaced":
        return (
            "The file that it runs is no longer at its path, and what stands there now is another build. Restart the program, so that it "
            "runs what is installed; then record again."
        )
    if code.kind == "generated":
        program = _generator(code)
        way = next((how for name, how in _MAPS if program.startswith(name)), "")
        made = f"{program} can leave one: {way}" if way else "if the program's compiler can be told to, let it"
        return (
            f"It was written into memory as the program ran. perf reads its names from a map, /tmp/perf-PID.map; {made}. Then record again."
        )
    if code.kind == "kernel":
        return (
            "The kernel shows its functions' addresses to those who may see them: give the host worker CAP_SYSLOG, or set "
            "kernel.kptr_restrict to 0 (sysctl). Then record again."
        )
    return "No file is mapped at these addresses: the code was unmapped again, or stacks were followed wrongly. Record again."


def _generator(code: NamelessCode) -> str:
    return code.module.strip("[]").removeprefix("jit of ")


def _symbols_of_file(code: NamelessCode) -> str:
    if code.is_go:
        return "Build it without -ldflags=-s and -w, which leave out Go's symbols."
    first = _package(code) if code.package else "Build it with -g, and do not strip it."
    if not code.build_id:
        return f"{first} It has no build id by which a debug file of it would be found."
    path = f"{BY_BUILD_ID}/{code.build_id[:2]}/{code.build_id[2:]}.debug"
    fetched = (
        f"fetched by its build id (debuginfod-find debuginfo {code.build_id}, with the distribution's server in DEBUGINFOD_URLS)"
        if code.package
        else f"made by objcopy --only-keep-debug before it was stripped (build id {code.build_id})"
    )
    return f"{first} Or put the debug file of this very build, {fetched}, at {path}."


def _package(code: NamelessCode) -> str:
    if _is(code, "debian", "ubuntu"):
        symbols = _OWN_DEBUG_PACKAGES.get(code.package, f"{code.package}-dbgsym")
        return f"Install its symbols: apt install {symbols}, from the distribution's archive of debug packages."
    if _is(code, "fedora", "rhel", "centos"):
        return f"Install its symbols: dnf debuginfo-install {code.package}."
    if _is(code, "suse", "opensuse", "sles"):
        return f"Install its symbols: zypper install {code.package}-debuginfo."
    return f"Install the debug symbols of the package {code.package}."


def _is(code: NamelessCode, *systems: str) -> bool:
    return not set(systems).isdisjoint(code.systems)


def nameless_by_place(codes: Iterable[NamelessCode]) -> dict[tuple[str, str], NamelessCode]:
    """By module and file, as places of costs are."""
    return {(code.module, code.file): code for code in codes}
