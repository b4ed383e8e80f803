"""What perf's frames are called where it found no symbol: recorded texts, as perf wrote them."""

import json
import subprocess
from pathlib import Path

import pytest

from activities.elf_files import ElfFile, read_elf
from activities.perf_output import read_perf_script
from activities.perf_switches import SwitchFacts
from activities.symbol_packages import package_of, systems_of
from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.models.profile import Profile
from tests.needs import needs

LINKED_AT = 0x400000
"""Of programs at a fixed address, on x86-64 and AArch64."""
STRIPPED = """
__attribute__((noinline)) int twice(int x) { volatile int y = x; return y + y; }
__attribute__((noinline)) int thrice(int x) { volatile int y = x; return twice(y) + y; }
int main(int n, char **_) { return thrice(n); }
"""


def read(folder: Path, text: str, **facts: object) -> tuple[Profile, SliceCount]:
    """As one slice of two seconds without a switch."""
    path = folder / "slice"
    path.with_suffix(".txt").write_text(text)
    path.with_suffix(".summary").write_text(json.dumps({"runtime": "native", "executable": "/srv/app/bookings", "threads": {}} | facts))
    path.with_suffix(".switches.txt").write_text("")
    path.with_suffix(".switches.json").write_text(SwitchFacts(began_s=5802.0, ended_s=5804.0).model_dump_json())
    builder = ProfileBuilder(tool="perf 6.1")
    taken = TakenSlice(index=0, kind="on_cpu", seconds=2.0, blocks=2, rate_hz=99, file="slice", ended_at_s=0.0)
    count = read_perf_script(builder, taken, path)
    return builder.build(), count


def stacks(profile: Profile) -> set[str]:
    found = set()
    for node in profile.passes[0].node:
        stack = []
        while node >= 0:
            stack.append(profile.frames.function[profile.nodes.frame[node]])
            node = profile.nodes.parent[node]
        found.add(" > ".join(reversed(stack)))
    return found


def samples(*frames: str, count: int = 1) -> str:
    return "".join(f"4711/4711  5802.{number:06d}: \n" + "".join(f"\t{frame}\n" for frame in frames) + "\n" for number in range(count))


def test_a_library_without_symbols_has_its_own_name(tmp_path: Path) -> None:
    """What perf calls [unknown] is told by its module, which is no code of the target's own to be changed."""
    profile, _ = read(
        tmp_path, samples("8a1c [unknown] (/usr/lib/absent/liblzma.so.5.4.1)", "34de lzma_code (/usr/lib/absent/liblzma.so.5.4.1)")
    )
    assert stacks(profile) == {"lzma_code > [liblzma.so.5.4.1]"}
    [code] = profile.nameless
    assert (code.kind, code.module, code.file) == ("stripped", "[liblzma.so.5.4.1]", "/usr/lib/absent/liblzma.so.5.4.1")
    assert set(profile.frames.origin) == {"native"}


def test_generated_code_is_told_by_its_program(tmp_path: Path) -> None:
    """Anonymous memory, which perf names after the map that a compiler may leave, belongs to the program that wrote it."""
    text = samples("7f21a0 [unknown] (/tmp/perf-4711.map)") + samples(
        "10 [unknown] (/memfd:doublemapper (deleted))", "20 run (/usr/bin/node)"
    )
    profile, _ = read(tmp_path, text, programs={"4711": "node"})
    assert stacks(profile) == {"[jit of node]", "run > [jit of node]"}
    assert [(code.kind, code.module) for code in profile.nameless] == [("generated", "[jit of node]")]


@pytest.mark.parametrize("object_name", ["[unknown]", "[kernel.kallsyms]"])
def test_a_kernel_that_hides_its_names(tmp_path: Path, object_name: str) -> None:
    """Its frames are the kernel's, the program's below them are kept, and the reader is told what to allow."""
    hidden = [f"{address} [unknown] ({object_name})" for address in ("ffffffff81d33df7", "ffffffff816b9706")]
    profile, count = read(tmp_path, samples(*hidden, "1198 read_all (/srv/app/bookings)", count=10))
    assert stacks(profile) == {"read_all > [kernel] > [kernel]"}
    assert dict(zip(profile.frames.function, profile.frames.origin, strict=True)) == {"read_all": "user", "[kernel]": "kernel"}
    assert [code.kind for code in profile.nameless] == ["kernel"]
    assert "kernel.kptr_restrict" in count.warning


def test_nothing_below_the_program_is_the_kernel(tmp_path: Path) -> None:
    """A register that is no frame pointer may hold an address of the kernel: a program's caller it is not."""
    profile, _ = read(tmp_path, samples("1198 total (/srv/app/bookings)", "ffffffff81d33df7 [unknown] ([unknown])"))
    assert stacks(profile) == {"total"}


def test_the_file_at_the_path_of_a_replaced_one_is_not_asked(tmp_path: Path) -> None:
    """Of a file that was replaced and cannot be read any more nothing is known: the names of the new one would be wrong."""
    program = compiled(tmp_path)
    at = symbols(program)["twice"] - LINKED_AT
    profile, _ = read(tmp_path, samples(f"{at:x} [unknown] ({program} (deleted))"))
    assert stacks(profile) == {f"[{program.name}]"}
    assert [code.kind for code in profile.nameless] == ["replaced"]


def test_a_replaced_file_is_read_where_it_still_is(tmp_path: Path) -> None:
    """perf finds no symbol of a file that is no longer at its path; what the kernel still shows of it has the names."""
    program = compiled(tmp_path)
    kept = program.rename(tmp_path / "kept")
    frame = f"{symbols(kept)['twice'] - LINKED_AT:x} [unknown] ({program} (deleted))"
    profile, _ = read(tmp_path, samples(frame), replaced={str(program): str(kept)})
    assert stacks(profile) == {"twice"}
    assert profile.nameless == []


@needs("gcc", "strip")
def test_functions_of_a_stripped_file_stay_apart(tmp_path: Path) -> None:
    """Where each begins is still known, from the table of unwinding; the build id says which symbols fit."""
    program = compiled(tmp_path)
    known, build_id = symbols(program), read_elf(program).build_id
    assert read_elf(program).has_symbols
    stripped = tmp_path / "stripped"
    subprocess.run(["strip", "-o", str(stripped), str(program)], check=True, timeout=60)
    frames = [f"{known[name] - LINKED_AT + more:x} [unknown] ({stripped})" for name, more in (("twice", 2), ("twice", 5), ("thrice", 2))]
    profile, _ = read(tmp_path, "".join(samples(frame) for frame in frames))
    assert stacks(profile) == {f"[stripped+{known[name]:#x}]" for name in ("twice", "thrice")}
    [code] = profile.nameless
    assert (code.module, code.build_id, code.package) == ("[stripped]", build_id, "")
    assert len(build_id) == 40
    assert not read_elf(stripped).has_symbols


def test_what_is_no_program_tells_nothing(tmp_path: Path) -> None:
    """A short file, another format, a folder, a file that is missing: none is an error."""
    (tmp_path / "short").write_bytes(b"\x7fELF\x02\x01")
    (tmp_path / "other").write_bytes(b"MZ" + bytes(100))
    (tmp_path / "broken").write_bytes(b"\x7fELF\x02\x01" + b"\xff" * 58)
    for name in ("short", "other", "broken", "missing", "."):
        assert read_elf(tmp_path / name) == ElfFile()


@needs("dpkg-query")
def test_who_installed_a_file() -> None:
    """Also where the package manager knows the file by the path before /lib and /bin became links."""
    assert package_of("/usr/bin/dpkg-query") == "dpkg"
    assert package_of("/usr/bin/sh-of-nobody") == ""
    assert package_of("/usr/bin/ls") == package_of("/bin/ls") == "coreutils"


def test_which_system_this_is(tmp_path: Path) -> None:
    """A distribution and those that it is like; none where nothing says so."""
    assert systems_of(str(tmp_path)) == ()
    (tmp_path / "there/etc").mkdir(parents=True)
    (tmp_path / "there/etc/os-release").write_text('NAME="Linux Mint"\nID=linuxmint\nID_LIKE="ubuntu debian"\n')
    assert systems_of(str(tmp_path / "there")) == ("linuxmint", "ubuntu", "debian")


def compiled(folder: Path) -> Path:
    source, program = folder / "twice.c", folder / "program"
    source.write_text(STRIPPED)
    subprocess.run(["gcc", "-O1", "-no-pie", "-Wl,--build-id=sha1", "-o", str(program), str(source)], check=True, timeout=60)
    return program


def symbols(program: Path) -> dict[str, int]:
    """Function -> where the linker put it; in the file it is `LINKED_AT` before."""
    told = subprocess.run(["nm", str(program)], check=True, capture_output=True, text=True, timeout=60).stdout
    return {name: int(address, 16) for address, _, name in (line.split() for line in told.splitlines() if len(line.split()) == 3)}
