"""The page: one HTML file for every address a user can visit, and its hashed assets.

The page is built while the wheel is built. Where it is missing the server works all the same,
and says how to build it.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from asyncwb.server.http.address import base_path
from asyncwb.server.http.auth import public
from asyncwb.server.http.errors import ApiError

DIST: Final = Path(__file__).parents[1] / "web" / "dist"

# Scripts and styles only from our own files; charts set sizes through the style object, which is
# allowed.
CSP: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' data: blob:; font-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Content-Security-Policy": CSP,
}
_TYPES: Final = {
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".png": "image/png",
    ".map": "application/json",
}
_NO_BASE: Final = '<meta name="base-path" content=""'
_MISSING: Final = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>asyncwb</title></head>
<body><h1>The page is not built</h1>
<p>The server works: runs can log, and the API answers. Only the page is missing: npm could not be
reached while asyncwb was installed.</p>
<p>With Node.js 20.19, 22.12 or newer, run <code>npm ci &amp;&amp; npm run build</code> in the
folder <code>{escape(str(DIST.parent))}</code>, then load this page again. In a source checkout
<code>python .ci/build_page.py</code> does it too, and brings Node.js along.</p></body></html>
""".encode()


def routes() -> list[web.RouteDef]:
    """Return the addresses that show the page; the API's own must stand before these."""
    return [
        web.get("/", page),
        web.get("/assets/{name}", asset),
        web.get("/favicon.ico", icon),
        web.get("/icon.svg", icon),
        web.get("/{entity}", page),
        web.get("/{entity}/{project}", page),
        web.get("/{entity}/{project}/settings", page),
        web.get("/{entity}/{project}/reports", page),
        web.get("/{entity}/{project}/reports/{name}", page),
        web.get("/{entity}/{project}/runs/{run}", page),
        web.get("/{entity}/{project}/sweeps", page),
        web.get("/{entity}/{project}/sweeps/{name}", page),
    ]


@public
async def page(request: web.Request) -> web.StreamResponse:
    """Show the single-page application; it asks for what it may see by itself."""
    if request.match_info.get("entity") in ("api", "assets"):
        raise web.HTTPNotFound
    return _index(request, 200)


@web.middleware
async def unknown_address(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Show a browser the page at an address that nothing has, too: it says so. Others get JSON."""
    browses = request.method == "GET" and "text/html" in request.headers.get("Accept", "")
    if browses and isinstance(request.match_info.http_exception, web.HTTPNotFound):
        return _index(request, 404)
    return await handler(request)


def _index(request: web.Request, status: int) -> web.StreamResponse:
    headers = {"Cache-Control": "no-cache", "Content-Type": "text/html; charset=utf-8"}
    try:
        index = (DIST / "index.html").read_text(encoding="utf-8")  # about a kilobyte
    except FileNotFoundError:
        return web.Response(body=_MISSING, status=status, headers=headers)
    body = _placed(index, base_path(request)).encode()
    return web.Response(body=body, status=status, headers=headers)


def _placed(index: str, base: str) -> str:
    """Say in the built page under which path it is served: its own files' addresses need it."""
    base = escape(base)
    said = index.replace(_NO_BASE, _NO_BASE.replace('""', f'"{base}"'))
    return said.replace('="./', f'="{base}/')


@public
async def asset(request: web.Request) -> web.StreamResponse:
    """Send a file of the built page; its name has a hash of its content, so it never changes."""
    return _file(DIST / "assets", request.match_info["name"], "public, max-age=31536000, immutable")


@public
async def icon(_request: web.Request) -> web.StreamResponse:
    """Send the page's icon, an SVG under the name that browsers ask for by themselves, too."""
    return _file(DIST, "icon.svg", "public, max-age=86400")


def _file(folder: Path, name: str, cache: str) -> web.StreamResponse:
    # Looked up among the names that are there: nothing from a request becomes a path.
    known = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
    path = known.get(name)
    if path is None or path.suffix not in _TYPES or not path.is_file():
        raise ApiError(404, "not_found", "The page has no such file.")
    return web.FileResponse(
        path, headers={"Cache-Control": cache, "Content-Type": _TYPES[path.suffix]}
    )


async def add_security_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put the headers that keep content from scripting the page on every answer."""
    for name, value in _HEADERS.items():
        response.headers.setdefault(name, value)
