"""The pages' files: compressed once, and sent again only when they changed."""

import asyncio
import gzip
import hashlib
import mimetypes
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from console.problems import problem_response

__all__ = ["StaticFiles"]

#: Browsers keep the files, but ask each time whether they changed: modules of two versions of the
#: pages must not meet.
CACHING = "no-cache"
#: Shorter files gain nothing.
COMPRESSED_BYTES = 500


@dataclass(frozen=True, kw_only=True)
class _File:
    changed: tuple[int, int]
    etag: str
    content: bytes
    compressed: bytes | None
    media_type: str


class StaticFiles:
    """Serves the files of a folder, with ETag and gzip; files in it may change."""

    def __init__(self, folder: Path, index: str) -> None:
        """index: the file for the path `/`."""
        self._names = {
            str(path.relative_to(folder)): path for path in folder.rglob("*") if path.is_file()
        }
        self._index = index
        self._read: dict[str, _File] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with a file, 304, 404 or 405."""
        name = scope["path"].removeprefix(scope["root_path"]).lstrip("/") or self._index
        if name not in self._names:
            response = problem_response(404, "there is no such file")
        elif scope["method"] not in {"GET", "HEAD"}:
            response = problem_response(405, "files can only be read", {"Allow": "GET, HEAD"})
        else:
            file = await asyncio.to_thread(self._file, name)
            response = _answer(file, Headers(scope=scope))
        await response(scope, receive, send)

    def _file(self, name: str) -> _File:
        path = self._names[name]
        stat = path.stat()
        changed = stat.st_mtime_ns, stat.st_size
        found = self._read.get(name)
        if found is None or found.changed != changed:
            content = path.read_bytes()
            compressed = gzip.compress(content, mtime=0)
            is_shorter = COMPRESSED_BYTES < len(content) > len(compressed)
            found = self._read[name] = _File(
                changed=changed, etag=hashlib.sha256(content).hexdigest()[:32], content=content,
                compressed=compressed if is_shorter else None,
                media_type=mimetypes.guess_type(name)[0] or "text/plain",
            )  # fmt: skip
        return found


def _answer(file: _File, headers: Headers) -> Response:
    zipped = file.compressed is not None and "gzip" in headers.get("accept-encoding", "")
    etag = f'"{file.etag}{"-gz" if zipped else ""}"'
    own = {"ETag": etag, "Cache-Control": CACHING, "Vary": "Accept-Encoding"}
    known = [tag.strip().removeprefix("W/") for tag in headers.get("if-none-match", "").split(",")]
    if etag in known or "*" in known:
        return Response(status_code=304, headers=own)
    if file.compressed is not None and zipped:
        own["Content-Encoding"] = "gzip"
        return Response(file.compressed, headers=own, media_type=file.media_type)
    return Response(file.content, headers=own, media_type=file.media_type)
