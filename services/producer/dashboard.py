"""The built dashboard and the API's documentation page: files below static/, as `make web` leaves them."""

from pathlib import Path, PurePosixPath

import trio
from quart import Response

from workqueue.services.http.responses import Refused, text

FOLDER = Path(__file__).parent / "static"

CSP = (
    "default-src 'self'; img-src 'self' data: blob:; frame-src 'self'; object-src 'none'; script-src 'self'; "
    "style-src 'self'; base-uri 'none'; frame-ancestors 'self'"
)

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


class Dashboard:
    """The files of one folder. Mutable state: none; what is built while we run is served at once."""

    def __init__(self, folder: Path, reserved: frozenset[str]) -> None:
        """`reserved`: the first segments of the API's paths; below them an unknown path is never a page."""
        self._folder = folder.resolve()
        self._reserved = reserved

    async def response(self, path: str) -> Response:
        """The file at `path`, or index.html where `path` may be a client-side route. Raises Refused(404)."""
        name = path.removeprefix("/")
        if name and (file := self._file(name)):
            return await _read(file, forever=name.startswith("assets/"))
        first, last = name.partition("/")[0], name.rpartition("/")[2]
        index = self._file("index.html")
        if first in self._reserved or "." in last or (name and index is None):
            raise Refused(404, "not found")
        if index is None:
            return _with_headers(Response(NOT_BUILT, content_type=CONTENT_TYPES[".html"]))
        return await _read(index)

    async def index(self) -> Response:
        """The dashboard at /."""
        return await self.response("/")

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
    response = _with_headers(Response(await trio.Path(file).read_bytes(), content_type=content_type))
    if forever:  # the name of an asset changes with its content
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
    return response


def _with_headers(response: Response) -> Response:
    response.headers["Content-Security-Policy"] = CSP
    response.headers["Cache-Control"] = "no-cache"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response
