"""A page to try the hub by hand: subscribe, publish, and see who is there.

It is the ``debug*`` files beside this one, and nothing from anywhere else: its policy lets it load its
own style and scripts, and send to its own origin and to those hubs it was told of. It holds no key and
keeps no token; what it may do is what the token entered on it allows, so it needs no guard. It is
mounted with a last slash (``.../ui/``), because its files are named relative to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from twisted.web.resource import Resource

__all__ = ["DebugPage"]

_FILES = (
    (b"", "debug.html", b"text/html; charset=utf-8"),
    (b"debug.css", "debug.css", b"text/css; charset=utf-8"),
    (b"debug.js", "debug.js", b"text/javascript; charset=utf-8"),
    (b"debugstream.js", "debugstream.js", b"text/javascript; charset=utf-8"),
)
_ORIGIN = re.compile(r"https?://[A-Za-z0-9.\-\[\]:]+", re.ASCII)


class DebugPage(Resource):
    """The tree of the page. It takes the URL above its own for the hub's, and another may be entered.

    ``origins`` are those of other hubs it may reach (``https://hub.example``), each of which must allow this
    page's origin by CORS. Raises ``ValueError`` for what is no origin.
    """

    def __init__(self, origins: Iterable[str] = ()) -> None:
        super().__init__()
        reached = ["'self'", *origins]
        for origin in reached[1:]:
            if _ORIGIN.fullmatch(origin) is None:
                raise ValueError(f"{origin[:100]!r} is not an origin; one looks like https://hub.example:8443")
        policy = (
            "default-src 'none'; style-src 'self'; script-src 'self'; img-src data:; "
            f"connect-src {' '.join(reached)}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
            "require-trusted-types-for 'script'; trusted-types 'none'"  # text never becomes markup
        ).encode("ascii")
        for path, name, kind in _FILES:
            self.putChild(path, _File(Path(__file__).with_name(name).read_bytes(), kind, policy))

    def render_GET(self, request: Any) -> bytes:
        """Without the last slash: to where the page is."""
        name = request.prepath[-1] if request.prepath else b""
        request.redirect(name + b"/" if re.fullmatch(rb"[A-Za-z0-9._~-]+", name) else b"./")
        return b""


class _File(Resource):
    def __init__(self, content: bytes, kind: bytes, policy: bytes) -> None:
        super().__init__()
        self._content = content
        self._headers = {
            b"content-type": kind,
            b"content-security-policy": policy,
            b"cross-origin-opener-policy": b"same-origin",
            b"cross-origin-resource-policy": b"same-origin",
            b"x-content-type-options": b"nosniff",
            b"referrer-policy": b"no-referrer",
            b"cache-control": b"no-store",
        }

    def render_GET(self, request: Any) -> bytes:
        for name, value in self._headers.items():
            request.setHeader(name, value)
        return self._content
