"""What is done right before a response's head is made, whatever makes it.

Wrappers (CORS, security headers, compression) must have the last word about a head, and that on the
page of a failed handler and on a refusal too, where all that the application had set is gone. So they
ask a request, on its way to the resource, to be called when the head is due. A request nobody asked
costs one look at ``None``.

``BeforeHead`` is that part of ``hardhttp.web.request.Request``. The functions below work on any
``IRequest``: one of ``twisted.web``'s own server has no such moment, so there the call is made at
once, and what the application sets later replaces what was set here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from twisted.web.http_headers import Headers

from hardhttp.wire.grammar import FIELD_VALUE, TOKEN, list_items

__all__ = [
    "BeforeHead",
    "before_head",
    "checked_fields",
    "default_fields",
    "drop_field",
    "field",
    "set_field",
    "vary_on",
]


class BeforeHead:
    """The moment before the head, and who waits for it."""

    code: int
    site: Any
    startedWriting: Any
    finished: Any
    responseHeaders: Any
    _end: Any
    _headers: Headers | None
    _plain: dict[bytes, bytes] | None
    _cookies: list[bytes] | None
    _encoder: Any

    _head_calls: list[Callable[[Any], object]] | None = None
    _coding: Any = None  # what may encode the body: see hardhttp.web.compression

    def before_head(self, call: Callable[[Any], object]) -> bool:
        """Have ``call(request)`` called right before the head of the response is made; it may set headers.

        The last to ask is called first. When a head cannot be sent its error page has one too, so it may be
        called twice. One that raises is logged, and costs nothing else. ``False`` when ``call`` is
        there already: a request with a body may walk the tree twice.
        """
        if self._head_calls is None:
            self._head_calls = [call]
        elif call in self._head_calls:
            return False
        else:
            self._head_calls.append(call)
        return True

    def encode_with(self, coding: Any) -> None:
        """Let ``coding`` encode the body, unless one further in has asked already to."""
        self._coding = coding
        if self._head_calls is None:
            self._head_calls = []

    @property
    def plain_headers(self) -> dict[bytes, bytes] | None:
        """The response headers set so far, to be changed, by name as it goes out; ``None`` when they
        are in ``responseHeaders``."""
        if self._headers is not None:
            return None
        if self._plain is None:
            self._plain = {}
        return self._plain

    def _call_before_head(self) -> None:
        for call in reversed(self._head_calls or ()):
            try:
                call(self)
            except Exception:
                self.site.server.failed("what was to be done before a head failed")

    def _before_whole(self, body: bytes) -> bytes | None:
        """The head of a whole response is due; what is to be sent, or ``None`` when that is seen to."""
        if self.startedWriting or self.finished or self._end is not None:
            return body
        self._call_before_head()
        if self._coding is None or self._encoder is not None:
            return body
        coded: bytes | None = self._coding.encode_whole(self, body)
        return coded

    def _before_stream(self) -> None:
        """The head of a response whose end is not known is due."""
        self._call_before_head()
        if self._coding is not None and self._encoder is None:
            self._encoder = self._coding.encode_stream(self)

    def refusal_fields(self, status: int) -> dict[bytes, Sequence[bytes]]:
        """What a refusal's head gets from those who asked; the application's own headers are not in it."""
        if self._head_calls is None:
            return {}
        self.code = status
        self._plain = self._headers = self._cookies = None
        self._call_before_head()
        fields = dict(self.responseHeaders.getAllRawHeaders())
        del fields[b"Server"], fields[b"Date"]
        return fields


def before_head(request: Any, call: Callable[[Any], object]) -> bool:
    """As ``BeforeHead.before_head``, for any ``IRequest``."""
    ask = getattr(request, "before_head", None)
    if ask is not None:
        return bool(ask(call))
    call(request)
    return True


def checked_fields(fields: Mapping[str, str]) -> dict[bytes, bytes]:
    """Header fields by the names they go out under. Raises ``ValueError`` for what cannot be sent."""
    checked = {}
    for name, value in fields.items():
        headers = Headers()
        headers.setRawHeaders(name, [value])
        ((encoded, (text,)),) = headers.getAllRawHeaders()
        if TOKEN.fullmatch(encoded) is None:
            raise ValueError(f"{name!r} is not the name of a header field")
        if not value or not value.isascii() or FIELD_VALUE.fullmatch(text) is None or text != value.encode("ascii"):
            raise ValueError(f"{name} is {value!r}; it must be printable US-ASCII in one line")
        checked[encoded] = text
    return checked


def field(request: Any, name: bytes) -> bytes | None:
    """The value of a response header, its lines joined; ``name`` as it goes out."""
    plain: dict[bytes, bytes] | None = getattr(request, "plain_headers", None)
    if plain is not None:
        return plain.get(name)
    values = request.responseHeaders.getRawHeaders(name)
    return b", ".join(values) if values else None


def set_field(request: Any, name: bytes, value: bytes) -> None:
    """Set a response header whose name and value are known to be sound."""
    plain: dict[bytes, bytes] | None = getattr(request, "plain_headers", None)
    if plain is not None:
        plain[name] = value
    else:
        request.responseHeaders.setRawHeaders(name, [value])


def drop_field(request: Any, name: bytes) -> None:
    """Send no such header."""
    plain: dict[bytes, bytes] | None = getattr(request, "plain_headers", None)
    if plain is not None:
        plain.pop(name, None)
    else:
        request.responseHeaders.removeHeader(name)


def default_fields(request: Any, fields: Mapping[bytes, bytes]) -> None:
    """Set those of ``fields`` (from ``checked_fields``) that are not set."""
    plain: dict[bytes, bytes] | None = getattr(request, "plain_headers", None)
    if plain is not None:
        for name, value in fields.items():
            plain.setdefault(name, value)
        return
    headers = request.responseHeaders
    for name, value in fields.items():
        if not headers.hasHeader(name):
            headers.setRawHeaders(name, [value])


def vary_on(request: Any, names: Iterable[bytes]) -> None:
    """Have ``names`` among those in Vary (RFC 9110, 12.5.5), whatever else is there."""
    value = field(request, b"Vary")
    if value is None:
        set_field(request, b"Vary", b", ".join(names))
        return
    there = list_items([value])
    missing = [name for name in names if name.lower() not in there]
    if missing and b"*" not in there:
        set_field(request, b"Vary", b", ".join([*filter(None, [value]), *missing]))
