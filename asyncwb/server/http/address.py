"""Under which addresses this server is known: what its links say, and whose requests it takes.

A request names the server itself, in its Host header, and whoever sends it can name it anything:
another site that points its own name here (DNS rebinding), or somebody who wants links in answers
to lead elsewhere. So a server has names: `public_url`, those of `hosts`, this machine's, and the
address that the connection came in on. Behind a proxy it cannot know the name and the scheme that
its users see; `public_url` says them, with the path under which the proxy serves it, if any.
"""

from __future__ import annotations

import ipaddress
import logging
import re
import socket
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from asyncwb.server.config import ServerConfig
from asyncwb.server.http.errors import ApiError
from asyncwb.server.http.state import STATE

log = logging.getLogger("asyncwb.server")

ANY: Final = "*"
_OWN: Final = frozenset({"localhost", socket.gethostname().lower()})
_HOST: Final = re.compile(r"(?:\[(?P<number>[0-9a-fA-F:.]+)\]|(?P<name>[\w.-]+))(?::\d{1,5})?")
_FORWARDED: Final = ("Forwarded", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Forwarded-Prefix")


def known_hosts(config: ServerConfig) -> frozenset[str]:
    """Return the names, in lower case, that requests may call this server by; "*": any."""
    public = urlsplit(config.public_url or "").hostname
    return _OWN | {host.lower() for host in config.hosts} | ({public} if public else frozenset())


def host_check(config: ServerConfig) -> Middleware:
    """Return the middleware that refuses requests to a host that this server is not."""
    known, behind_proxy = known_hosts(config), config.public_url is not None

    @web.middleware
    async def check_host(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal behind_proxy
        if not behind_proxy and any(name in request.headers for name in _FORWARDED):
            behind_proxy = True
            _warn_of_proxy(request)
        named = _named(request)
        if named is not None:
            name = _host_of(named)
            accepted = ANY in known or name in known or _is_own_address(name, request)
            if not name or not accepted:
                raise ApiError(
                    421,
                    "unknown_host",
                    f"This server is not known as {named[:200]!r}. Nothing was written; start it "
                    "with --public-url where users reach it at that address, or with "
                    "--allow-host and that name.",
                )
        response: web.StreamResponse = await handler(request)
        return response

    return check_host


def base_url(request: web.Request) -> str:
    """Return the address that users know the server by, without a slash at its end."""
    public_url = request.app[STATE].config.public_url
    return public_url or f"{request.scheme}://{authority(request)}"


def authority(request: web.Request) -> str:
    """Return the host and port that a request names: in an absolute target, or in its header."""
    # aiohttp's `host` has no port where the target is absolute, as a proxy's client writes it.
    named = urlsplit(request.raw_path).netloc if _is_absolute(request) else ""
    return named.rpartition("@")[2] or request.host


def base_path(request: web.Request) -> str:
    """Return the path under which a proxy serves this server; "" for the root."""
    return urlsplit(request.app[STATE].config.public_url or "").path


def _named(request: web.Request) -> str | None:
    """Return what links would say of the host: an absolute target's, or the header's."""
    return authority(request) if _is_absolute(request) or "Host" in request.headers else None


def _is_absolute(request: web.Request) -> bool:
    return not request.raw_path.startswith(("/", "*"))


def _host_of(named: str) -> str:
    """Return the host of "host:port"; "" for what is anything else."""
    found = _HOST.fullmatch(named)
    return "" if found is None else (found["number"] or found["name"]).lower().rstrip(".")


def _is_own_address(name: str, request: web.Request) -> bool:
    """Tell whether a name is a number: of loopback, or that which the connection came in on.

    Numbers cannot be pointed elsewhere by whoever owns a name.
    """
    try:
        address = _plain(name)
    except ValueError:
        return False
    reached = request.transport.get_extra_info("sockname") if request.transport else None
    return address.is_loopback or (reached is not None and address == _plain(reached[0]))


def _plain(number: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(number.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _warn_of_proxy(request: web.Request) -> None:
    log.warning(
        "a proxy sends requests here, and --public-url is not set: links, and the addresses that "
        "files are sent to, begin with %s, which users may not reach. Start the server with "
        "--public-url and the address that they use.",
        base_url(request),
    )
