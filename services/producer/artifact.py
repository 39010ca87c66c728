"""An artifact as a browser gets it. Its bytes and type come from the handler: nothing in it may run on our origin."""

import re
from urllib.parse import quote

from quart import Response

from workqueue.core.job import Artifact

#: Shown in the page; everything else (HTML, SVG, ...) is saved, never shown.
INLINE = frozenset({"application/pdf", "image/gif", "image/jpeg", "image/png", "image/webp", "text/plain"})
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
#: Without a sandbox, in which not every browser shows a PDF (Chromium 156 does, older ones refuse). nosniff and the
#: type keep the browser from reading it as anything else.
PDF = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"

_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+(?:\s*;[\x20-\x7e]*)?", re.ASCII)


def response(artifact: Artifact) -> Response:
    """The artifact, to be shown or saved, according to its type."""
    given = artifact.content_type if _TYPE.fullmatch(artifact.content_type) else "application/octet-stream"
    kind = given.partition(";")[0].strip().lower()
    result = Response(artifact.content, content_type=given)
    result.headers["Content-Disposition"] = _disposition("inline" if kind in INLINE else "attachment", artifact.name)
    result.headers["Content-Security-Policy"] = PDF if kind == "application/pdf" else SANDBOX
    result.headers["Cache-Control"] = "no-cache"
    return result


def _disposition(how: str, name: str) -> str:
    """RFC 6266: an ASCII name for old clients, the real one as RFC 5987 writes it."""
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"
