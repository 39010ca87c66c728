"""The built dashboard and the API's documentation page: files below page/, as `make web` leaves them."""

from pathlib import Path, PurePosixPath

import trio
from quart import Response

from workqueue.services.http.answers import Refused, text

FOLDER = Path(__file__).parent / "page"

CSP = (
    "default-src 'self'; img-src 'self' data: blob:; frame-src 'self'; object-src 'none'; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)
#: The first segment of paths that are the API's: what is unknown below them is not found, and no page.
RESERVED = frozenset({"api", "docs", "enqueue", "health", "metrics", "openapi.json", "ready"})

#: Not from the system's registry of types: a browser refuses a script of another type, and each system has its own.
CONTENT_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".ico": "image/x-icon",
    ".jpg": "image/jpeg",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".map": "application/json",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff2": "font/woff2",
}

NOT_BUILT = """<!doctype html>
<html lang="en">
<title>WorkQueue</title>
<h1>WorkQueue</h1>
<p>The producer runs. Its dashboard is not built: run <code>make web</code> (it needs Node 20.19 or later) in the
checkout, or install a released wheel, which brings it along.</p>
<p>The API works without it: <a href="/api/jobs">/api/jobs</a>, <a href="/api/overview">/api/overview</a>,
<a href="/openapi.json">/openapi.json</a>.</p>
</html>
"""


class Page:
    """The files of one folder. Mutable state: none; what is built while we run is served at once."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self._folder = folder.resolve()

    async def answer(self, path: str) -> Response:
        """The file at `path`, or index.html where a client-side route may be meant. Raises Refused(404)."""
        name = path.removeprefix("/")
        if name and (file := self._file(name)):
            return await _read(file, forever=name.startswith("assets/"))
        first, last = name.partition("/")[0], name.rpartition("/")[2]
        index = self._file("index.html")
        if first in RESERVED or "." in last or (name and index is None):
            raise Refused(404, "not found")
        if index is None:
            return _page(Response(NOT_BUILT, content_type=CONTENT_TYPES[".html"]))
        return await _read(index)

    async def docs(self) -> Response:
        """The API's documentation page."""
        if (file := self._file("docs/index.html")) is None:
            return text(404, "the documentation page is not built: run `make web`, or read /openapi.json")
        return await _read(file)

    def _file(self, name: str) -> Path | None:
        """The file of this name below the folder, and nothing else: no `..`, no dot files, no links out of it."""
        parts = PurePosixPath(name).parts
        if "\0" in name or "\\" in name or len(name) > 500 or any(part.startswith((".", "/")) for part in parts):
            return None
        try:
            file = self._folder.joinpath(*parts).resolve()
            return file if file.is_relative_to(self._folder) and file.is_file() else None
        except (OSError, RuntimeError):  # a name that is too long; links in a circle (until Python 3.13 a RuntimeError)
            return None


async def _read(file: Path, *, forever: bool = False) -> Response:
    content_type = CONTENT_TYPES.get(file.suffix.lower(), "application/octet-stream")
    answer = _page(Response(await trio.Path(file).read_bytes(), content_type=content_type))
    if forever:  # the name of an asset changes with its content
        answer.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return answer


def _page(answer: Response) -> Response:
    answer.headers["Content-Security-Policy"] = CSP
    answer.headers["Cache-Control"] = "no-cache"
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
