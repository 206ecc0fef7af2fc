"""The page a server shows when it was told to serve nothing else: its own figures, live.

``/`` is one self-contained HTML page, ``/events`` the stream it listens to, ``/figures`` the same
figures once, as JSON. The page is the file beside this one; its policy allows just the style and
the script it holds, by their hashes, and no connection but to where it came from.

Nothing is kept here: the figures come from a function, and the stream is handed in, because
``web`` knows nothing of ``sse``. Who composes them (``hardhttp.tap``) publishes the figures.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource, Resource

from hardhttp.limits import Limits

__all__ = ["WelcomeResource"]


def _page() -> tuple[bytes, bytes]:
    """The page, and the Content-Security-Policy that lets it work and nothing else."""
    page = Path(__file__).with_name("welcome.html").read_text("utf-8")
    row = '<tr><th scope="row">--{}</th><td data-limit="{}"></td><td>{}</td></tr>'
    limits = [
        row.format(field.name.replace("_", "-"), field.name, html.escape(field.metadata["help"]))
        for field in attrs.fields(Limits)
    ]
    page = page.replace("<!-- limits -->", "\n".join(limits))
    hashes = {}
    for tag in ("style", "script"):
        found = re.search(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = hashlib.sha256(found[1].encode("utf-8") if found else b"").digest()
        hashes[tag] = base64.b64encode(digest).decode("ascii")
    policy = (
        f"default-src 'none'; style-src 'sha256-{hashes['style']}'; script-src 'sha256-{hashes['script']}'; "
        "connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return page.encode("utf-8"), policy.encode("ascii")


class _Text(Resource):
    """A body made anew for each request, never kept by a cache."""

    isLeaf = True

    def __init__(self, kind: bytes, body: Callable[[], bytes], policy: bytes = b"default-src 'none'") -> None:
        super().__init__()
        self._body = body
        self._headers = {
            b"content-type": kind,
            b"content-security-policy": policy,
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"cache-control": b"no-store",
        }

    def render_GET(self, request: IRequest) -> bytes:
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return self._body()


class WelcomeResource(Resource):
    """The tree of the welcome page.

    ``site_figures`` gives a dict fit for JSON with ``statistics``, ``ledger`` and ``limits``, each
    a dict; ``events`` is the stream they are published on, once a second.
    """

    def __init__(self, site_figures: Callable[[], dict[str, Any]], events: IResource) -> None:
        super().__init__()
        page, policy = _page()
        self.putChild(b"", _Text(b"text/html; charset=utf-8", lambda: page, policy))
        self.putChild(b"figures", _Text(b"application/json", lambda: json.dumps(site_figures()).encode("utf-8")))
        self.putChild(b"events", events)
