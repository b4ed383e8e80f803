"""Disks that are full or cannot be written: real ones where the tests may mount (root), and otherwise a skip."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


def _mounted(folder: Path, options: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True, text=True, timeout=20)
    if mounted.returncode != 0:
        # Not a failure in CI either: containers seldom may mount.
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 KiB."""
    yield from _mounted(tmp_path / "tiny", "size=512k")


@pytest.fixture
def read_only_folder(tmp_path: Path) -> Iterator[Path]:
    """A folder that cannot be written, for root neither."""
    if os.geteuid() == 0:
        yield from _mounted(tmp_path / "read-only", "size=64k,ro")
        return
    folder = tmp_path / "read-only"
    folder.mkdir(mode=0o555)
    yield folder
