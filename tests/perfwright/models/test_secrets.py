"""What looks like a secret in a command is refused by name, and what does not is left alone."""

import pytest
from pydantic import ValidationError

from perfwright.models.secrets import secret_argument
from perfwright.models.target import ProcessSelector
from perfwright.models.workload import Workload


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("load --password=hunter2 --rate 5", "argument 2 (--password)"),
        ("load --rate 5 --api-key abc123", "argument 4 (--api-key)"),
        ("load -db.passwd x1", "argument 2 (-db.passwd)"),
        ("env GITHUB_TOKEN=ghp_1 load", "argument 2 (GITHUB_TOKEN)"),
        ("wrk http://ana:pw@127.0.0.1:8700/", "argument 2 (a URL)"),
        ("psql postgresql://shop:pw@127.0.0.1/shop", "argument 2 (a URL)"),
    ],
)
def test_secrets_are_found(command: str, place: str) -> None:
    """An option, an assignment or a URL with a password is named by its place, never by its value."""
    assert secret_argument(command.split()) == place
    words = tuple(command.split())
    for refuse in (lambda: Workload(command=words), lambda: ProcessSelector(command=words)):
        with pytest.raises(ValidationError, match="looks like a secret") as refused:
            refuse()
        told = refused.value.errors(include_input=False, include_context=False)[0]["msg"]
        assert place in told and "environment_names" in told
        assert not any(secret in told for secret in ("hunter2", "abc123", "ghp_1", ":pw@"))


def test_headers_are_found() -> None:
    """One argument with a space in it, as a shell would hand it on."""
    assert secret_argument(("curl", "-H", "Authorization: Bearer abc123")) == "argument 3 (a header)"
    assert secret_argument(("curl", "-H", "x-api-key: abc123")) == "argument 3 (a header)"
    assert secret_argument(("curl", "-H", "Accept: text/html", "-H", "Cookie-Policy: none")) == ""


@pytest.mark.parametrize(
    "command",
    [
        "load --password-file /run/secret --rate 5",
        "generate --max-tokens 100",
        "load --token --rate 5",
        "wrk http://127.0.0.1:8700/?page=2",
        "python3 -c password='x'",
        "psql postgresql://shop@127.0.0.1/shop",
    ],
)
def test_ordinary_commands_are_taken(command: str) -> None:
    """Files that hold secrets, counts, and options without a value are no secrets."""
    assert secret_argument(command.split()) == ""
    assert Workload(command=tuple(command.split()))
