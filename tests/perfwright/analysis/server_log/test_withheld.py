"""Passwords and connection strings in statements are never kept."""

import pytest

from tests.perfwright.analysis.server_log.written import Line, jsonlog, plan_message, read, read_lines

SECRET = "pa55-w0rd"


@pytest.mark.parametrize(
    "text",
    [
        f"ALTER ROLE app PASSWORD '{SECRET}'",
        f"/* deploy */ create user app with login encrypted password '{SECRET}'",
        f"CREATE ROLE app PASSWORD $${SECRET}$$",
        f"ALTER USER app PASSWORD E'{SECRET}",
        f"CREATE SUBSCRIPTION s CONNECTION 'host=a password={SECRET}' PUBLICATION p",
        f"CREATE SERVER s FOREIGN DATA WRAPPER postgres_fdw OPTIONS (passcode '{SECRET}')",
        f"CREATE USER MAPPING FOR app SERVER s OPTIONS (user 'a', password '{SECRET}')",
        f"ALTER ROLE app PASWORD '{SECRET}'",
        f"SELECT 1; ALTER ROLE app PASSWORD '{SECRET}'",
        f"SELECT * FROM dblink('host=a user=b password={SECRET}', 'SELECT 1') AS t(a int)",
        f"SELECT dblink_connect($1, 'postgresql://a:{SECRET}@b/c')",
        f"SELECT fetch('https://user:{SECRET}@example.com/x')",
        f"UPDATE accounts SET password = '{SECRET}' WHERE id = 3",
        f"DO $body$ BEGIN EXECUTE 'ALTER ROLE app PASSWORD ''{SECRET}'''; END $body$",
        f"SET app.jwt = '{SECRET}'",
        f"COPY t FROM PROGRAM 'curl -u a:{SECRET} http://b'",
        f"CALL login('{SECRET}')",
    ],
)
def test_no_secret_is_kept(text: str) -> None:
    """Neither of a call, nor of an error, nor of a plan: not in texts, samples or plans, and not in a stored state."""
    lines = (
        Line(f"duration: 1.000 ms  statement: {text}"),
        Line("it failed", severity="ERROR", statement=text),
        Line(plan_message(text, 0.9)),
        Line(f"duration: 2.000 ms  execute S_1: {text}", detail="parameters: $1 = 'x'"),
    )
    digest = read(jsonlog(*lines))
    assert sum(one.calls for one in digest.statements) == 2
    assert SECRET not in digest.model_dump_json()


def test_parameters_that_are_secrets() -> None:
    """A password that is compared or set by a parameter, or a connection string in one, is no sample."""
    for text, detail in (
        ("UPDATE accounts SET password = $1 WHERE id = $2", f"parameters: $1 = '{SECRET}', $2 = '3'"),
        ("SELECT connect_to($1)", f"parameters: $1 = 'postgresql://a:{SECRET}@b/c'"),
        ("SELECT connect_to($1)", f"parameters: $1 = 'host=b password={SECRET}'"),
    ):
        digest = read_lines(Line(f"duration: 1.000 ms  execute S_1: {text}", detail=detail))
        assert digest.statements[0].calls == 1
        assert SECRET not in digest.model_dump_json()


def test_statements_that_only_sound_like_it() -> None:
    """A column that is named so, and tables named user or role, cost no sample."""
    for text in ("SELECT password, role FROM users WHERE id = 3", "SELECT * FROM server JOIN role ON a = b WHERE c = 'x'"):
        assert read_lines(Line(f"duration: 1.000 ms  statement: {text}")).statements[0].samples[0].text == text


def test_utility_statements_are_shown_without_strings() -> None:
    """What is neither read nor write keeps its words, not its strings, and no sample."""
    [one] = read_lines(Line("duration: 1.000 ms  statement: COMMENT ON TABLE t IS 'internal'")).statements
    assert (one.text, one.samples) == ("COMMENT ON TABLE t IS '…'", ())
