"""What a data directory tells of its server. Real servers are read in test_settings and test_statistics_clones."""

from pathlib import Path

import pytest

from activities.postmaster import Postmaster, postmaster_of

HELD = "4711\n/data\n1795000000\n5432\n/tmp\n\n  5432001 98304\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HELD + "ready   \n", Postmaster(4711, ready=True)),
        (HELD + "starting\n", Postmaster(4711, ready=False)),
        (HELD, Postmaster(4711, ready=False)),
        ("-4711\n/data\n", Postmaster(-4711, ready=False)),
        ("", None),
        ("what\n", None),
        (None, None),
    ],
)
def test_who_holds_a_data_directory(tmp_path: Path, text: str | None, expected: Postmaster | None) -> None:
    """Ready, on its way, alone in single-user mode, half written, and nobody."""
    if text is not None:
        (tmp_path / "postmaster.pid").write_text(text)
    assert postmaster_of(tmp_path) == expected
