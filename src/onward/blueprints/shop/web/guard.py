"""The guard before every page: only this machine, only this page's own requests, only small bodies."""

import asyncio
import hmac
import re
import secrets
from http.cookies import CookieError, SimpleCookie

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BODY_BYTES = 16 * 1024
BODY_S = 10.0
CSRF_COOKIE = "shop_csrf"
CSRF_HEADER = "x-csrf-token"
LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,64}")
_SAFE_METHODS = frozenset({"GET", "HEAD"})

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self';"
        " base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """Refuses, with a sentence, what does not come from this site's own page; marks every answer.

    The `Host` must be a loopback name, so that no other site's name can be made to lead here. A request that
    changes something must carry the visitor's token in cookie and header alike, and no foreign `Origin`.
    `scope["state"]["csrf"]` has the visitor's token for the page to hand out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        known = _cookie(headers.get("cookie", ""))
        token = known or secrets.token_urlsafe(24)
        scope.setdefault("state", {})["csrf"] = token

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in SECURITY_HEADERS.items():
                    answer[name] = value
                answer.setdefault("cache-control", "no-store")
                if known is None:
                    answer.append("set-cookie", f"{CSRF_COOKIE}={token}; Path=/; HttpOnly; SameSite=Strict")
            await send(message)

        refusal = _refusal(scope["method"], headers, known)
        if refusal is not None:
            status, sentence = refusal
            await JSONResponse({"error": sentence}, status)(scope, receive, marked)
            return
        if scope["method"] not in _SAFE_METHODS:
            body = await _bounded_body(receive)
            if isinstance(body, str):
                await JSONResponse({"error": body}, 413)(scope, receive, marked)
                return
            receive = _replayed(body, receive)
        await self._app(scope, receive, marked)


def _cookie(header: str) -> str | None:
    try:
        morsel = SimpleCookie(header).get(CSRF_COOKIE)
    except CookieError:
        return None
    return morsel.value if morsel is not None and _TOKEN.fullmatch(morsel.value) else None


def _refusal(method: str, headers: Headers, known: str | None) -> tuple[int, str] | None:
    host = headers.get("host", "")
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    if name not in LOCAL_NAMES:
        return 421, "This shop is open on this machine only; use the address it printed."
    if method in _SAFE_METHODS:
        return None
    origin = headers.get("origin")
    if origin is not None and origin != f"http://{host}":
        return 403, "The request comes from another site, so it was not carried out."
    sent = headers.get(CSRF_HEADER, "")
    if known is None or not hmac.compare_digest(sent.encode(), known.encode()):
        return 403, "The page is older than the shop. Load it again, then repeat what you did."
    return None


async def _bounded_body(receive: Receive) -> bytes | str:
    """The whole body, or the sentence that says why not."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > BODY_BYTES:
                    return f"A request may hold {BODY_BYTES:,} bytes at most."
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return bytes(body)
    except TimeoutError:
        return f"The request did not arrive within {BODY_S:g} seconds."


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A receive that gives the body first, then what the connection says."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
