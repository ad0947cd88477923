"""Tokens: what they may do, and how they are made."""

import tomllib

import pytest
from typer.testing import CliRunner

from console import ConsoleSettings, TokenSettings
from console.guard import Client, Tokens
from segue.cli import app
from segue.serving_console import new_token


def test_a_public_token_with_more_rights_is_refused():
    with pytest.raises(ValueError, match="'impressions' only, got events, people"):
        TokenSettings(name="web", sha256="0" * 64, rights=("events", "people"), public=True)


def test_a_public_token_names_no_client():
    made = [new_token("web", ("events",), public=True), new_token("shop", ("events",))]
    tokens = Tokens(tuple(one.settings for one in made))

    def client(token: str) -> Client:
        header = (b"authorization", f"Bearer {token}".encode())
        return Client.of({"headers": [header], "client": ("10.0.0.1", 1)}, tokens)

    assert client(made[0].token) == Client("10.0.0.1", False)
    assert client(made[1].token) == Client("token shop", True)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), {"rights": ("people",)}),
        (("--write", "--records", "items", "--records", "events"),
         {"rights": ("people", "write", "events", "items")}),
        (("--public", "--user-prefix", 'a"-'),
         {"rights": ("events",), "public": True, "user_prefix": 'a"-'}),
    ],
)  # fmt: skip
def test_segue_token_prints_what_settings_read(arguments, expected):
    answer = CliRunner().invoke(app, ["token", 'a "shop"', *arguments])
    assert answer.exit_code == 0
    printed = answer.output
    [row] = tomllib.loads(printed[printed.index("[[") :])["console"]["tokens"]
    row["rights"] = tuple(row["rights"])
    made = TokenSettings(**row)
    assert made == TokenSettings(name='a "shop"', sha256=made.sha256, **expected)
    assert ConsoleSettings(tokens=(made,)).tokens == (made,)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--public", "--write"), "only, got write, events"), (("--records", "x"), "expected events")],
)
def test_segue_token_refuses_what_no_token_may_have(arguments, message):
    answer = CliRunner().invoke(app, ["token", "shop", *arguments])
    assert answer.exit_code != 0
    assert message in " ".join(answer.output.split())


def test_segue_token_refuses_an_owner_without_a_name():
    answer = CliRunner().invoke(app, ["token", " "])
    assert answer.exit_code == 2
    assert "expected the name" in " ".join(answer.output.split())
