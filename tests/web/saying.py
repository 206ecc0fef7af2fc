"""Short ways to say a request and to be a resource, for tests in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import Resource

__all__ = ["GET", "Says", "form", "say"]


def say(method: bytes = b"GET", target: bytes = b"/", body: bytes | None = None, **headers: bytes) -> bytes:
    """A request; ``_`` in a header's name stands for ``-``."""
    lines = [b"%s %s HTTP/1.1" % (method, target), b"Host: a"]
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    return b"\r\n".join([*lines, b"", body or b""])


GET = say()


def form(body: bytes, kind: bytes = b"application/x-www-form-urlencoded") -> bytes:
    """A POST of a form."""
    return say(b"POST", b"/?q=1", body, Content_Type=kind)


class Says(Resource):
    """A leaf that answers what ``answer`` returns for the request."""

    isLeaf = True

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self._answer = answer

    def render_GET(self, request: Any) -> Any:
        return self._answer(request)

    render_POST = render_GET
