"""What an event source asks, each time anew (HTML standard, 9.2.2).

The URL's query and the header fields may be secret: neither is in a ``repr`` or an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse

from hardhttp.client.eventlimits import without_end
from hardhttp.client.sending import BytesBody
from hardhttp.wire.decoding import ACCEPT_ENCODING
from hardhttp.wire.grammar import FIELD_VALUE

__all__ = ["EventRequest"]


class EventRequest:
    """A request that can be made any number of times. Raises ``ValueError`` for a URL that is not ASCII."""

    def __init__(
        self,
        agent: IAgent,
        url: str | bytes,
        method: bytes,
        headers: Headers | Mapping[str, str] | None,
        body: bytes | None,
    ) -> None:
        self._agent: Any = agent
        self._options = without_end(agent)
        self._url = url if isinstance(url, bytes) else _ascii(url)
        self._method = method
        self._headers = headers.copy() if isinstance(headers, Headers) else _headers(headers or {})
        self._body = body
        for name, value in ((b"accept", b"text/event-stream"), (b"accept-encoding", ACCEPT_ENCODING)):
            if not self._headers.hasHeader(name):
                self._headers.setRawHeaders(name, [value])
        self._headers.setRawHeaders(b"cache-control", [b"no-store"])

    def __repr__(self) -> str:
        parts = urlsplit(self._url.decode("ascii", "replace"))
        host = parts.netloc.rpartition("@")[2]
        return f"{self._method.decode('latin-1')} {parts.scheme}://{host}{parts.path}"

    def send(self, last_event_id: str) -> Deferred[IResponse]:
        headers = self._headers.copy()
        encoded_id = last_event_id.encode("utf-8")
        # An id may be any text; with a control character in it no agent would send it, and the source would end.
        if encoded_id and FIELD_VALUE.fullmatch(encoded_id) is not None:
            headers.setRawHeaders(b"last-event-id", [encoded_id])
        body = BytesBody(self._body) if self._body else None
        asked: Deferred[IResponse] = self._agent.request(self._method, self._url, headers, body, **self._options)
        return asked


def _ascii(url: str) -> bytes:
    try:
        return url.encode("ascii")
    except UnicodeEncodeError:
        pass
    raise ValueError("the URL has characters that must be percent-encoded")  # which has the URL in none of its parts


def _headers(given: Mapping[str, str]) -> Headers:
    return Headers({name: [value] for name, value in given.items()})
