"""`perfwright submit`, the real program."""

from pathlib import Path

from tests.starter.conftest import Command


async def test_what_is_wrong_is_told_before_anything_is_sent(command: Command, tmp_path: Path) -> None:
    """Neither a patch nor a ref, both, a file that is not there, a run that is not there: each in one line, with exit code 2."""
    assert "either --patch FILE or --ref REF" in (await command("submit", "shop")).err
    both = await command("submit", "shop", "--patch", str(tmp_path / "a"), "--ref", "main")
    missing = await command("submit", "shop", "--patch", str(tmp_path / "a"))
    unknown = await command("submit", "no-such-run", "--ref", "main")
    assert {both.code, missing.code, unknown.code} == {2}
    assert "cannot read" in missing.err and "no run" in unknown.err
