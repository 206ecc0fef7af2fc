"""A bare ASGI callable: the least that an ASGI server can be asked to run."""

from __future__ import annotations

from benchmarks.messages import BIG_PATH, HELLO, POST_PATH
from benchmarks.servers.options import big

__all__ = ["app"]

BIG = big()
TEXT = (b"content-type", b"text/plain")
HELLO_HEADERS = [TEXT, (b"content-length", b"%d" % len(HELLO))]


async def app(scope, receive, send):
    body, headers = HELLO, HELLO_HEADERS
    if scope["path"] == POST_PATH:
        body = await count(receive)
        headers = [TEXT, (b"content-length", b"%d" % len(body))]
    elif scope["path"] == BIG_PATH:
        body = BIG
        headers = [TEXT, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def count(receive) -> bytes:
    """Take the body whole, as a handler would, and answer its length."""
    pieces, more = [], True
    while more:
        message = await receive()
        pieces.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"%d" % len(b"".join(pieces))
