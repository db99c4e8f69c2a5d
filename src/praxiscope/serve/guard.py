"""What is refused before the application sees it: other hosts, other origins, no token, too much, too slowly."""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import json
import time
from collections.abc import Awaitable, Callable, Collection
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

from starlette.exceptions import HTTPException

__all__ = ["COOKIE", "Guard"]

COOKIE = "praxiscope_token"
_OPEN = ("/health",)  # without a token: says nothing but "ok"
_ADDRESS, _HEADER = 8 * 1024, 16 * 1024
_SMALL = 64 * 1024  # bytes of a request that is not an upload
_RATE, _GRACE_S = 1024, 30.0  # bytes per second that a body must have on average, from so many seconds on
_HEADERS = {
    b"content-security-policy": b"default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    b"object-src 'none'; base-uri 'none'; frame-ancestors 'self'; form-action 'self'",
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cross-origin-opener-policy": b"same-origin",
    b"cache-control": b"no-store",
}
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware.

    Args:
        app: the application.
        hosts: names that the header Host may have.
        any_address: Host may also be any IP address, which no name server can redirect.
        token: clients must have, as a bearer token or in a cookie; empty for none.
        uploads: paths whose body is a video.
        most: bytes of a video.
        silence_s: seconds that a client may be silent in the middle of a body.
        answered: called with the status of each answer.
    """

    def __init__(
        self,
        app: Callable[..., Awaitable[None]],
        *,
        hosts: Collection[str],
        any_address: bool,
        token: str,
        uploads: Collection[str],
        most: int,
        silence_s: float,
        answered: Callable[[int], None],
    ) -> None:
        self.app = app
        self._hosts, self._any_address = {host.lower() for host in hosts}, any_address
        self._token, self._uploads, self._most = token, uploads, most
        self._silence_s, self._answered = silence_s, answered

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":  # no WebSockets
            await send({"type": "websocket.close", "code": 1008})
            return
        headers = [
            (name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]
        ]
        problem = self._problem(scope, headers)
        if problem is not None:
            status, text = problem
            self._answered(status)
            await _answer(send, status, text)
            return
        if self._token and _query_token(scope) is not None:
            await _remember(send, _cookie(scope), self._token)
            return
        most = self._most if scope["path"] in self._uploads else _SMALL
        await self.app(scope, self._bounded(receive, most), self._with_headers(send))

    def _problem(self, scope: dict[str, Any], headers: list[tuple[str, str]]) -> tuple[int, str] | None:
        """Why a request is refused: its status and a sentence."""
        if len(scope["raw_path"]) + len(scope["query_string"]) > _ADDRESS:
            return 414, f"The address is too long. The limit is {_ADDRESS} bytes."
        if sum(len(name) + len(value) for name, value in headers) > _HEADER:
            return 431, f"The headers are too large. The limit is {_HEADER} bytes."
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or not self._known(hosts[0]):
            return 421, "This server is not called by this name. Start it with --name NAME to allow it."
        safe = scope["method"] in ("GET", "HEAD")
        origins = [value for name, value in headers if name == "origin"]
        if not safe and any(_host_of(origin) != hosts[0].lower() for origin in origins):
            return 403, "Requests of other web pages are not accepted."
        if not safe and any(name == "sec-fetch-site" and value == "cross-site" for name, value in headers):
            return 403, "Requests of other web pages are not accepted."
        if self._token and scope["path"] not in _OPEN and not self._has_token(scope, headers):
            return (
                401,
                "A token is needed: open the address that the server printed, or send it as a bearer token.",
            )
        most = self._most if scope["path"] in self._uploads else _SMALL
        for length in (value for name, value in headers if name == "content-length"):
            if not length.isdecimal() or int(length) > most:
                return 413, f"The body is too large. The limit is {most} bytes."
        return None

    def _known(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        if name.lower() in self._hosts:
            return True
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._any_address

    def _has_token(self, scope: dict[str, Any], headers: list[tuple[str, str]]) -> bool:
        given = [_query_token(scope)]
        for name, value in headers:
            if name == "authorization" and value.lower().startswith("bearer "):
                given.append(value[7:].strip())
            elif name == "cookie":
                try:
                    cookie = SimpleCookie(value).get(_cookie(scope))
                except CookieError:
                    continue
                given.append(cookie.value if cookie is not None else None)
        return any(
            one is not None and hmac.compare_digest(one.encode(), self._token.encode()) for one in given
        )

    def _with_headers(self, send: Send) -> Send:
        """Send answers with the headers that protect the page."""

        async def sending(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                self._answered(message["status"])
                have = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in _HEADERS.items() if name not in have]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return sending

    def _bounded(self, receive: Receive, most: int) -> Receive:
        """Receive a body that is not too large and does not come too slowly."""
        began, size, complete = time.monotonic(), 0, False

        async def bounded() -> dict[str, Any]:
            nonlocal size, complete
            if complete:  # now waiting for the client to go, which may take any time
                return await receive()
            try:
                message = await asyncio.wait_for(receive(), self._silence_s)
            except asyncio.TimeoutError:
                raise HTTPException(408, "The body came too slowly.") from None
            if message["type"] != "http.request":
                return message
            size += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            spent_s = time.monotonic() - began
            if size > most:
                raise HTTPException(413, f"The body is too large. The limit is {most} bytes.")
            if not complete and spent_s > _GRACE_S and size < _RATE * spent_s:
                raise HTTPException(408, "The body came too slowly.")
            return message

        return bounded


def _host_of(origin: str) -> str:
    """Host and port of an origin; empty if it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _query_token(scope: dict[str, Any]) -> str | None:
    """The token in the address of the page."""
    if scope["path"] != "/":
        return None
    return parse_qs(scope["query_string"].decode("latin-1")).get("token", [None])[0]


def _cookie(scope: dict[str, Any]) -> str:
    """The name of the cookie: browsers send those of one port to the others of a host, too."""
    return f"{COOKIE}_{(scope.get('server') or ('', 0))[1]}"


async def _remember(send: Send, name: str, token: str) -> None:
    """Keep the token in a cookie, and open the page without it in the address."""
    # Lax, as the address may be opened from a link; changes need the own origin anyway.
    cookie = f"{name}={token}; HttpOnly; SameSite=Lax; Path=/"
    headers = [
        (b"location", b"/"),
        (b"set-cookie", cookie.encode("latin-1", "ignore")),
        (b"content-length", b"0"),
    ]
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _answer(send: Send, status: int, text: str) -> None:
    body = json.dumps({"detail": text}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # the rest of the request is not read
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
