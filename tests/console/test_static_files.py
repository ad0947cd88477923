"""Files of the pages: compressed, cached with an ETag, and nothing beside them."""

import gzip
from pathlib import Path

import httpx
import pytest

from console.static_files import StaticFiles

SCRIPT = "const answer = 42;\n" * 100


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "static"
    (made / "pages").mkdir(parents=True)
    (made / "index.html").write_text("<!doctype html>")
    (made / "pages" / "now.js").write_text(SCRIPT)
    (tmp_path / "secret").write_text("no")
    return made


@pytest.fixture
def client(folder: Path) -> httpx.AsyncClient:
    files = httpx.ASGITransport(app=StaticFiles(folder, index="index.html"))
    return httpx.AsyncClient(
        transport=files, base_url="http://console", headers={"accept-encoding": ""}
    )


async def test_a_file_comes_whole_and_compressed(client):
    plain = await client.get("/pages/now.js")
    assert plain.text == SCRIPT
    assert plain.headers["content-type"].startswith("text/javascript")
    assert "content-encoding" not in plain.headers
    async with client.stream(
        "GET", "/pages/now.js", headers={"accept-encoding": "br, gzip"}
    ) as zipped:
        assert zipped.headers["content-encoding"] == "gzip"
        sent = b"".join([part async for part in zipped.aiter_raw()])
    assert gzip.decompress(sent).decode() == SCRIPT
    assert len(sent) < len(SCRIPT) / 10
    assert plain.headers["vary"] == zipped.headers["vary"] == "Accept-Encoding"
    assert plain.headers["etag"] != zipped.headers["etag"]


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_what_did_not_change_is_not_sent_again(client, folder, encoding):
    headers = {"accept-encoding": encoding}
    first = await client.get("/pages/now.js", headers=headers)
    assert first.headers["cache-control"] == "no-cache"
    headers["if-none-match"] = f'"other", W/{first.headers["etag"]}'
    again = await client.get("/pages/now.js", headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]
    (folder / "pages" / "now.js").write_text(SCRIPT + "// changed")
    changed = await client.get("/pages/now.js", headers=headers)
    assert changed.status_code == 200
    assert changed.text.endswith("// changed")


async def test_short_files_are_not_compressed(client):
    found = await client.get("/", headers={"accept-encoding": "gzip"})
    assert found.text == "<!doctype html>"
    assert "content-encoding" not in found.headers


@pytest.mark.parametrize("path", ["/no.js", "/../secret", "/%2e%2e/secret", "/pages"])
async def test_only_files_of_the_folder_are_there(client, path):
    assert (await client.get(path)).status_code == 404


async def test_files_are_only_read(client):
    found = await client.post("/pages/now.js")
    assert (found.status_code, found.headers["allow"]) == (405, "GET, HEAD")
    assert (await client.head("/pages/now.js")).status_code == 200


def test_the_console_serves_its_pages_so(running):
    with running.client() as client:
        page = client.get("/")
        assert "<title>Segue console</title>" in page.text
        charts = client.get("/static/vendor/echarts.common.min.js")
        assert charts.headers["content-encoding"] == "gzip"
        assert client.get("/health").headers["cache-control"] == "no-store"
        for found in (page, charts):
            assert found.headers["cache-control"] == "no-cache"
            assert "default-src 'self'" in found.headers["content-security-policy"]
            headers = {"if-none-match": found.headers["etag"]}
            assert client.get(found.url, headers=headers).status_code == 304
