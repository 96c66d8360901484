"""Serves the console: a handful of files, read once at start, nothing else of the disk can be asked for."""

import hashlib
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

from aiohttp import hdrs, web

FOLDER = Path(__file__).parent / "console"
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""No inline script or style, no foreign host, no HTML from strings."""
TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".json": "application/json",
}


def add_console(app: web.Application) -> None:
    """GET / and one route per file under /console/."""
    for path in sorted(FOLDER.rglob("*")):
        if path.suffix in TYPES:
            place = "/" if path.name == "index.html" else "/console/" + path.relative_to(FOLDER).as_posix()
            app.router.add_route("GET", place, _serve(path), name=None)


def _serve(path: Path) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    content = path.read_bytes()
    if path.suffix == ".json":
        json.loads(content)  # a broken file stops the start, not an agent
    etag = '"' + hashlib.sha256(content).hexdigest()[:32] + '"'
    headers = {
        "Content-Security-Policy": POLICY,
        "Cache-Control": "no-cache",
        hdrs.ETAG: etag,
    }

    async def serve(request: web.Request) -> web.StreamResponse:
        if request.headers.get(hdrs.IF_NONE_MATCH) == etag:
            return web.Response(status=304, headers=headers)
        return web.Response(body=content, content_type=TYPES[path.suffix], charset="utf-8", headers=headers)

    return serve
