"""Our server, keeping nothing: what a W&B client streams to it is read off the wire and forgotten.

`python -m bench.rivals.discarding_server server ...` takes the options of `asyncwb server`.
Everything but file_stream is the real thing, so a client cannot tell; how fast it goes here is how
fast it goes when the server costs it nothing.
"""

from __future__ import annotations

from aiohttp import web

from asyncwb.cli import main
from asyncwb.server.intake import file_stream


async def _forget(request: web.Request) -> web.Response:
    await request.read()
    return web.json_response({})


def _routes() -> list[web.RouteDef]:
    (route,) = real_routes()
    return [web.post(route.path, _forget)]


if __name__ == "__main__":
    real_routes, file_stream.routes = file_stream.routes, _routes
    main()
