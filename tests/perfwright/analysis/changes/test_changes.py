"""The pure parts of changes: lists of names, memory, index statements, edits, launches and digests."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.changes.file_edits import EditRefused, edited, looks_secret, stretch_between
from perfwright.analysis.changes.index_statements import NotAnIndex, concurrently, definition_of, read_create, read_name
from perfwright.analysis.changes.launches import LaunchRefused, changed_command, changed_environment
from perfwright.analysis.changes.settings_checks import KnownSetting, amount_bytes, memory_trouble
from perfwright.analysis.changes.settings_texts import NotAList, joined_list, line_of, set_statement, split_list, with_line, without_line
from perfwright.analysis.changes.tree_changes import parse_raw, refusal
from perfwright.models.change import Change, FileSpec, IndexSpec, LaunchSpec, PatchSpec, Replacement, SettingSpec
from perfwright.models.undo_data import SettingUndo

GB = 1024**3
NAMES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=12)


def written(part: str) -> str:
    """As the server's quote_identifier writes what is not plain."""
    return '"' + part.replace('"', '""') + '"'


@given(st.lists(NAMES, max_size=5))
def test_lists_are_taken_apart_as_they_were_put_together(parts: list[str]) -> None:
    """Whatever names a list holds, commas and quotes too, each comes back as it was."""
    assert split_list(", ".join(written(part) for part in parts)) == tuple(parts)
    assert split_list(joined_list(parts)) == tuple(parts)


@pytest.mark.parametrize("raw", ['"a', "a,,b", "a, ", ",", 'a"b', '"a" b'])
def test_what_is_no_list_is_refused(raw: str) -> None:
    """An open quote, or nothing between commas, is no list."""
    with pytest.raises(NotAList):
        split_list(raw)


def test_statements_are_quoted() -> None:
    """One literal for each part, and names in double quotes: nothing in a name or value ends the statement."""
    undo = SettingUndo(scope="role in database", name="search_path", role='a"; DROP ROLE b', database="d'b", wanted=())
    told = set_statement(undo, ("x'y", "a,b", "c\\d"))
    assert told == """ALTER ROLE "a""; DROP ROLE b" IN DATABASE "d'b" SET "search_path" = 'x''y', 'a,b', E'c\\\\d'"""


def test_one_line_of_the_configuration_is_replaced() -> None:
    """Other lines and comments stay, byte by byte; the name is compared as the server does, without regard to case."""
    text = "# work_mem = '1MB'\nport = '5'\nWork_Mem='2MB'\nwork_mem_x = '3'\nwork_mem = '4MB'\n"
    assert without_line(text, "work_mem") == "# work_mem = '1MB'\nport = '5'\nwork_mem_x = '3'\n"
    assert with_line("a = '1'", "b", "it's") == "a = '1'\nb = 'it''s'\n" and with_line("a = '1'\n", "a", None) == ""


@given(NAMES)
def test_what_is_written_into_the_file_is_read_from_it(value: str) -> None:
    """Whatever a value holds, quotes and backslashes too, the entry is told as it was written."""
    assert line_of(with_line("# work_mem = '1'\nwork_mem = '2'\nport = '5'", "Work_Mem", value), "work_mem") == value


def test_the_last_entry_counts() -> None:
    """As the server reads the file: values without quotes and signs between, escapes, and what comes later wins."""
    text = "# a = '1'\na = '2'\n  A 3 # now\nb = 'it''s \\'x\\' \\\\ \\101'\nab = '4'\nempty = ''\n"
    assert [line_of(text, name) for name in ("a", "b", "empty", "none")] == ["3", "it's 'x' \\ A", "", None]


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("900GB", "8kB", 900 * GB),
        ("100", "8kB", 819_200),
        ("1.5 MB", "kB", 1_572_864),
        ("5", "", None),
        ("x", "kB", None),
        ("-1", "kB", None),
    ],
)
def test_amounts(text: str, unit: str, expected: int | None) -> None:
    """Amounts in the unit they name, or in the setting's own."""
    assert amount_bytes(text, unit) == expected


def test_memory_is_added_up() -> None:
    """What the server reserves at its start is compared with the machine; what already was too much may get less."""
    buffers = KnownSetting("shared_buffers", "16384", "8kB", "postmaster", "integer", "default")
    now = {"shared_buffers": buffers, "max_connections": KnownSetting("max_connections", "100", "", "postmaster", "integer", "default")}
    assert memory_trouble(buffers, "2GB", now, 4 * GB) == ""
    assert "would reserve" in memory_trouble(buffers, "900GB", now, 4 * GB)
    assert memory_trouble(buffers, "100MB", now, 64 * 1024**2) == ""  # less than now, on a machine that is too small anyway
    work_mem = KnownSetting("work_mem", "4096", "kB", "user", "integer", "default")
    assert "more than the machine's memory" in memory_trouble(work_mem, "5GB", now, 4 * GB)


def test_index_statements_are_written_anew() -> None:
    """Name, table and CONCURRENTLY are written by us; what follows is taken as it stands; without a name it gets the same one each time."""
    text = """create unique index if not exists "I" on ONLY_T using btree (a, lower('--x')) where b = ';'"""
    with pytest.raises(NotAnIndex, match="comments"):
        read_create(text)
    read = read_create(text.replace("--x", "x"))
    assert read.concurrently("s x") == """CREATE UNIQUE INDEX CONCURRENTLY "I" ON "s x".only_t using btree (a, lower('x')) where b = ';'"""
    unnamed = "CREATE INDEX CONCURRENTLY ON orders (customer_id);"
    assert read_create(unnamed).name == read_create(f"  {unnamed} ").name
    assert read_name('"A ""b"".c" . d') == ('A "b".c', "d") and read_name("Shop.Orders") == ("shop", "orders")


def test_definitions_of_the_server() -> None:
    """What tells an index from another begins at its access method, whatever its names hold."""
    told = 'CREATE UNIQUE INDEX "a ON b USING c" ON public."x USING y" USING btree (a) WHERE (b > 0)'
    assert definition_of(told) == "USING btree (a) WHERE (b > 0)"
    assert concurrently(told).startswith('CREATE UNIQUE INDEX CONCURRENTLY "a ON b')


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_stretches_lead_both_ways(before: bytes, after: bytes) -> None:
    """The stretch leads from one content to the other and back, and nothing shorter at its ends would."""
    try:
        stretch = stretch_between(before, after)
    except EditRefused:
        assert looks_secret(before) or looks_secret(after)
        return
    assert stretch.applied(before) == after and stretch.undone(after) == before
    if stretch.old and stretch.new:
        assert stretch.old[0] != stretch.new[0] and stretch.old[-1] != stretch.new[-1]


def test_edits_stand_once() -> None:
    """A text that stands twice, or not at all, is not replaced."""
    spec = FileSpec(path="x", replacements=(Replacement(find="a", replace="b"),))
    assert edited(b"xay", spec) == b"xby"
    for content in (b"aa", b"x"):
        with pytest.raises(EditRefused, match="exactly once"):
            edited(content, spec)


@pytest.mark.parametrize(
    "text",
    [
        "db_password = x1",
        "  PASSWORD: 'x'",
        "api-key=abc",
        "url = postgres://u:p@h/d",
        '{"client_secret": "x"}',
        "aws_secret_access_key = A",
    ],
)
def test_secrets_are_seen(text: str) -> None:
    """Lines that hold a password, token or key are not recorded."""
    assert looks_secret(text.encode()) and not looks_secret(b"workers = 2\n# no passwords here\nmax_tokens: 100")


def test_launches() -> None:
    """Words go behind the program and to the end, others are left out; a word that is not there is refused."""
    spec = LaunchSpec(after_program=("-Xmx2g",), append=("--fast",), without=("-v",), environment={"A": "1", "B": None})
    assert changed_command(("java", "-v", "-jar", "x"), spec) == ("java", "-Xmx2g", "-jar", "x", "--fast")
    assert changed_environment({"B": "2", "C": "3"}, spec) == {"A": "1", "C": "3"}
    with pytest.raises(LaunchRefused):
        changed_command(("java",), spec)


def test_changed_paths() -> None:
    """Files of a commit are read from git's own words; links, submodules and git's folder are refused."""
    told = ":100644 100755 a b M\0x y.py\0:000000 100644 0 c A\0d/e\0"
    assert [one.path for one in parse_raw(told)] == ["x y.py", "d/e"] and refusal(parse_raw(told)) == ""
    for path, mode, reason in ((".git/x", "100644", "own folder"), ("a/.GIT./x", "100644", "own folder"), ("m", "160000", "no file")):
        assert reason in refusal(parse_raw(f":000000 {mode} 0 c A\0{path}\0"))


def test_digests_of_told_changes_stay() -> None:
    """A change without a spec has the digest that it had before there were specs; with one, the spec counts too."""
    told = Change(kind="sql", title="t", apply="CREATE INDEX i ON t (a);", undo="DROP INDEX i;", risk="observe")
    assert told.digest == "caeef148d613cd07"
    first, second = (told.model_copy(update={"spec": IndexSpec(create="CREATE INDEX i ON t (a)", lock_timeout_s=s)}) for s in (1.0, 2.0))
    assert len({told.digest, first.digest, second.digest}) == 3


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (PatchSpec, {}),
        (PatchSpec, {"patch": "x", "ref": "main"}),
        (PatchSpec, {"ref": "--upload-pack=x"}),
        (IndexSpec, {}),
        (SettingSpec, {"name": "a = 1; --", "value": "1"}),
        (SettingSpec, {"name": "a", "value": "1\nfsync = off"}),
        (FileSpec, {"path": "x"}),
    ],
)
def test_absurd_specs_are_refused(model: type, fields: dict[str, object]) -> None:
    """A spec that says nothing, two things, or holds another statement or line is no spec."""
    with pytest.raises(ValueError, match="validation error"):
        model(**fields)
