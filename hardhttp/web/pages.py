"""What is said when nothing else is: plain pages for the statuses the server answers itself."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from twisted.python.failure import Failure
from twisted.web import util

from hardhttp.wire.response import reason_phrase

if TYPE_CHECKING:
    from hardhttp.web.request import Request

__all__ = ["failed", "render"]

_PAGE = (
    "<!doctype html>\n<html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    "<title>{status} {phrase}</title>"
    "<style>:root{{color-scheme:light dark}}"
    "body{{font:1rem/1.5 system-ui;max-width:40rem;margin:15vh auto;padding:0 1rem}}</style>"
    "<h1>{status} {phrase}</h1>{detail}\n"
)


def render(request: Request, status: int, detail: str = "") -> bytes:
    """Set ``status`` on ``request`` and return a page; ``detail`` is HTML."""
    request.setResponseCode(status)
    request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
    phrase = escape(reason_phrase(status).decode("ascii"))
    return _PAGE.format(status=status, phrase=phrase, detail=detail).encode("utf-8")


def failed(request: Request, failure: Failure | None) -> bytes:
    """The page of a failed handler: its id, and the traceback only in development."""
    detail = f"<p>The server could not answer. In its log this is <code>{request.request_id}</code>."
    if failure is not None:
        detail += util.formatFailure(failure).decode("utf-8", "replace")
    return render(request, 500, detail)
