"""From plain HTTP to HTTPS, and the one path that stays: what a certificate authority asks for.

``HTTPSRedirect`` answers every request that did not come by TLS (to this server, or to the trusted proxy that
says so) with the same URL under ``https``. The host is the client's own word, so it is checked: a redirect to
a host that no certificate is for would only end in a warning, and one that a cache keeps would send others there.

``ACMEChallenges`` stands around it: the tokens of ``http-01`` (RFC 8555, 8.3) are asked for by plain HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.web.resource import IResource

from hardhttp.web import pages
from hardhttp.web.static import StaticFiles
from hardhttp.web.wrapping import Answer, Wrapper
from hardhttp.wire.location import location

__all__ = ["ACME_PATH", "ACMEChallenges", "HTTPSRedirect"]

ACME_PATH = b"/.well-known/acme-challenge/"


class HTTPSRedirect(Wrapper):
    """``resource`` for those who come by TLS; all others are sent to ``https`` at ``port``.

    GET and HEAD are answered 301, which every client knows and may keep; what may have a body 308, which keeps
    the method and the body (RFC 9110, 15.4.9). ``covers(host)`` says whether there is a certificate for a host;
    others, and requests that name none, are answered 421 (15.5.20). Without it every well-formed host will do.
    """

    def __init__(self, resource: IResource, *, port: int = 443, covers: Callable[[str], bool] | None = None) -> None:
        super().__init__(resource)
        if not 1 <= port <= 65_535:
            raise ValueError(f"port is {port!r}; it must be from 1 to 65535")
        self._port = "" if port == 443 else f":{port}"
        self._covers = covers

    def begin(self, request: Any) -> IResource | None:
        return None if request.isSecure() else Answer(self._send_on)

    def _send_on(self, request: Any) -> bytes:
        host = request.client_info.host
        if not host or (self._covers is not None and not self._covers(host.strip("[]"))):
            return pages.error_page(request, 421, "This is served by HTTPS alone, and under another name.")
        try:
            target = location(f"https://{host}{self._port}{request.uri.decode('latin-1')}", external=True)
        except ValueError:
            return pages.error_page(request, 400, "This is served by HTTPS alone, and such a URL cannot be sent on.")
        request.setResponseCode(301 if request.method in (b"GET", b"HEAD") else 308)
        request.setHeader(b"location", target)
        return b""


class ACMEChallenges(Wrapper):
    """``resource``, and the tokens of ACME's ``http-01`` in ``directory``.

    It is the directory that ``certbot --webroot-path`` is given: the tokens are in
    ``.well-known/acme-challenge`` below it. Raises ``ValueError`` when there is no such directory.
    """

    def __init__(self, resource: IResource, directory: str) -> None:
        super().__init__(resource)
        self._files = StaticFiles(directory)

    def begin(self, request: Any) -> Any:
        return self._files if request.path.startswith(ACME_PATH) else None
