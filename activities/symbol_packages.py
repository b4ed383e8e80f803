"""Which package a program or library came with, and which distribution this is: what decides how its symbols are had.

Asked inside the analysis process, which the kit bounds and reaps: a missing package manager only costs the package's name.
"""

import subprocess
from functools import lru_cache
from pathlib import Path

ANSWERS_WITHIN_S = 20.0
_USR = "/usr"


@lru_cache(maxsize=64)
def package_of(file: str) -> str:
    """The package that installed this file, by dpkg or rpm; empty where none did."""
    for ask in (_by_dpkg, _by_rpm):
        if package := ask(file):
            return package
    return ""


def _by_dpkg(file: str) -> str:
    """Packages of a system whose /lib is a link to /usr/lib may know a file by either path; one that is not known makes
    it end with 1. `liblzma5:amd64: /lib/x86_64-linux-gnu/liblzma.so.5.4.1`"""
    other = file.removeprefix(_USR) if file.startswith(f"{_USR}/") else f"{_USR}{file}"
    told = _answer("dpkg-query", "--search", file, other, ends_with=(0, 1))
    owners = [line.partition(": ")[0] for line in told if not line.startswith("diversion by ")]
    return owners[0].split(",")[0].partition(":")[0] if owners else ""


def _by_rpm(file: str) -> str:
    return next(iter(_answer("rpm", "--query", "--file", "--queryformat", "%{NAME}\n", file)), "")


def _answer(*argv: str, ends_with: tuple[int, ...] = (0,)) -> list[str]:
    """Lines that it wrote; none where it is missing or ends otherwise."""
    try:
        told = subprocess.run(argv, capture_output=True, text=True, errors="replace", timeout=ANSWERS_WITHIN_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return told.stdout.splitlines() if told.returncode in ends_with else []


@lru_cache(maxsize=8)
def systems_of(root: str) -> tuple[str, ...]:
    """`ubuntu`, `debian`: ID and ID_LIKE of os-release(5) below this root; empty where there is none."""
    for name in ("etc/os-release", "usr/lib/os-release"):
        try:
            text = Path(f"{root}/{name}").read_text(errors="replace")
        except OSError:
            continue
        told = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
        return tuple(word for key in ("ID", "ID_LIKE") for word in told.get(key, "").strip("\"' ").split())
    return ()
