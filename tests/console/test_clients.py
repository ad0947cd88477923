"""The clients in clients/: made of the API as it is, and run against a console."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from console.openapi import document
from tests.console.conftest import ready
from tests.console.worlds import HEADERS, NOW, OWNER, make_world
from tests.waiting import PATIENCE_S

ROOT = Path(__file__).parents[2]
CLIENTS = ROOT / "clients"
PYTHON, TYPESCRIPT = CLIENTS / "python", CLIENTS / "typescript"
GENERATOR = ROOT / "var" / "clients" / "python" / "bin" / "openapi-python-client"
MODULES = TYPESCRIPT / "node_modules" / ".bin"
PAGE = ROOT / "docs" / "web-shop.md"


def tool(path: Path) -> str:
    """Return a tool that `make setup` installs, or skip."""
    if path.parent == MODULES and shutil.which("node") is None:
        pytest.skip("Node is not installed")
    if not path.exists():
        pytest.skip(f"{path.relative_to(ROOT)} is missing: make setup installs it")
    return str(path)


def run(*command: str, **more) -> str:
    done = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=PATIENCE_S, **more
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def files(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.suffix in (".py", ".ts", ".typed") and "__pycache__" not in path.parts
    }


def test_the_document_is_that_of_the_api():
    assert (CLIENTS / "openapi.json").read_text() == document(), "run: make clients"


def test_operations_have_names_of_their_own():
    paths = json.loads(document())["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(set(names)) == len(names) > 20
    assert all(re.fullmatch("[a-z]+(_[a-z]+)+|recommend", name) for name in names)


def test_the_python_client_is_generated_from_the_document(tmp_path):
    generator = tool(GENERATOR)
    run(
        generator, "generate", "--path", str(CLIENTS / "openapi.json"), "--meta", "none",
        "--config", str(PYTHON / "generator.yaml"), "--output-path", str(tmp_path / "made"),
        env=os.environ | {"PATH": f"{GENERATOR.parent}{os.pathsep}{os.environ['PATH']}"},
    )  # fmt: skip
    assert files(tmp_path / "made") == files(PYTHON / "segue_client"), "run: make clients"


def test_the_types_are_generated_from_the_document(tmp_path):
    made = tmp_path / "schema.ts"
    run(tool(MODULES / "openapi-typescript"), str(CLIENTS / "openapi.json"), "-o", str(made))
    assert made.read_text() == (TYPESCRIPT / "src" / "schema.ts").read_text(), "run: make clients"


@pytest.mark.parametrize(
    ("language", "file"),
    [
        ("python", PYTHON / "examples" / "shop.py"),
        ("typescript", TYPESCRIPT / "examples" / "shop.ts"),
    ],
)
def test_the_page_shows_the_examples_that_are_run(language, file):
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert file.read_text() in blocks
    assert len(file.read_text().splitlines()) <= 26


@pytest.fixture(scope="module")
def shop(tmp_path_factory, items, bundles):
    made = make_world(tmp_path_factory.mktemp("clients"), items, bundles)
    # The examples send events of today; the world's clock stands still.
    made.settings = replace(
        made.settings, events=replace(made.settings.events, future_ms=2**52),
        console=replace(made.settings.console, at_least_s=PATIENCE_S),
    )  # fmt: skip
    made.announce(bundles[0])
    with ready(made) as found:
        yield found


def shop_environment(shop) -> dict[str, str]:
    return os.environ | {
        "SEGUE_URL": shop.address, "SEGUE_TOKEN": OWNER, "PYTHONPATH": str(PYTHON)
    }  # fmt: skip


def test_the_python_example_gets_a_list_without_what_was_bought(shop):
    out = run(sys.executable, str(PYTHON / "examples" / "shop.py"), env=shop_environment(shop))
    assert "'i1'" not in out
    assert out.count("'i") == 10
    with shop.client(headers=HEADERS) as client:
        history = client.get("/v1/user?user=user-1").json()["history"]
    assert [entry["item_id"] for entry in history] == ["i1"]


def test_the_python_example_says_that_a_token_is_wrong(shop):
    done = subprocess.run(
        [sys.executable, str(PYTHON / "examples" / "shop.py")],
        env=shop_environment(shop) | {"SEGUE_TOKEN": "wrong"}, capture_output=True, text=True,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "the token is not known\n")


def test_the_typescript_example_is_built_and_gets_a_list_without_what_was_bought(shop):
    run(tool(MODULES / "tsc"), cwd=TYPESCRIPT)
    out = run("node", "dist/examples/shop.js", cwd=TYPESCRIPT, env=shop_environment(shop))
    listed = json.loads(out)
    assert len(listed) == 10
    assert "i1" not in listed


def test_the_python_client_is_sync_too_and_says_what_is_wrong(shop, monkeypatch):
    monkeypatch.syspath_prepend(str(PYTHON))
    from segue_client import AuthenticatedClient, Client  # noqa: PLC0415
    from segue_client.api.lists import recommend, recommend_many  # noqa: PLC0415
    from segue_client.api.records import write_events  # noqa: PLC0415
    from segue_client.models import (  # noqa: PLC0415
        Event,
        ItemRef,
        ProblemBody,
        Seen,
        Session,
        UserLists,
    )

    rows = [Event("user-3", f"i{n}", "podcast", "stream", NOW) for n in range(3)]
    rows.append(Event("user-3", "i9", "podcast", "no such kind", NOW))
    with AuthenticatedClient(shop.address, OWNER) as client:
        written = write_events.sync(client=client, body=rows)
        assert (written.accepted, written.errors[0].index) == (3, 3)
        wanted = UserLists(
            ["user-3", "user-04"], k=4, titles=True, at_least=written.at_least,
            exclude=[ItemRef("podcast", "i7")],
        )  # fmt: skip
        lists = recommend_many.sync(client=client, body=wanted).lists
        assert [(one.user_id, len(one.items)) for one in lists] == [("user-3", 4), ("user-04", 4)]
        assert all(place.title for one in lists for place in one.items)
        refused = write_events.sync(client=client, body=rows[3])
        assert isinstance(refused, ProblemBody)
        assert refused.errors[0].what.startswith("unknown_kind")
    with Client(shop.address) as nobody:
        session = Session([Seen("podcast", "i1")], k=3)
        assert len(recommend.sync(client=nobody, body=session).items) == 3
