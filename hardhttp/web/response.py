"""A response as a value: what a handler may return instead of writing.

``Response`` holds a status, headers and a body, and does nothing. Hooks and wrappers may change it until
``hardhttp.web.sending.send`` puts it on a request. Whatever would split or forge a header is refused
when it is set, with ``ValueError``.

A response that has a file or an iterator owns it: sending closes it on every path, and whoever throws a
response away calls ``close``.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import AsyncIterable, Iterable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer

from hardhttp.errors import HTTPError
from hardhttp.net.sendfile import OpenFile
from hardhttp.web.contenttypes import content_type as type_of
from hardhttp.web.jsontext import encode_json
from hardhttp.wire import cookies
from hardhttp.wire.disposition import content_disposition
from hardhttp.wire.grammar import FIELD_VALUE
from hardhttp.wire.location import location

__all__ = ["Body", "CheckedHeaders", "FileBody", "Response", "TargetError", "abort"]

_log = Logger(namespace="hardhttp")
_REDIRECTS = frozenset({301, 302, 303, 307, 308})

Text = str | bytes
HeadersGiven = Headers | Mapping[Any, Any] | Iterable[tuple[Text, Text]] | None


class TargetError(HTTPError, ValueError):
    """A redirect would lead elsewhere."""

    def __str__(self) -> str:
        return self.detail


class CheckedHeaders(Headers):
    """``twisted.web``'s headers, which refuse a value they would otherwise mend.

    Raises ``ValueError`` for a name that is no token, and for a control character in a value.
    """

    __slots__ = ()

    def setRawHeaders(self, name: Text, values: Iterable[Text]) -> None:
        super().setRawHeaders(name, [_checked(name, value) for value in values])

    def addRawHeader(self, name: Text, value: Text) -> None:
        super().addRawHeader(name, _checked(name, value))


def _checked(name: Text, value: Text) -> bytes:
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"the header field {name!r} cannot be set to a {type(value).__name__}: it is text or bytes")
    encoded = value.encode("utf-8") if isinstance(value, str) else value
    if FIELD_VALUE.fullmatch(encoded) is None:
        raise ValueError(f"the header field {name!r} cannot be set: its value holds a control character")
    return encoded


class FileBody:
    """An open file as a body: ``size`` bytes of it, from its start. ``close`` may be called more than once."""

    __slots__ = ("file", "size")

    def __init__(self, file: OpenFile, size: int) -> None:
        self.file = file
        self.size = size

    def close(self) -> None:
        self.file.close()


Body = bytes | str | FileBody | Iterable[Any] | AsyncIterable[Any]


class Response:
    """A status, headers and a body.

    ``headers`` may be given as ``Headers``, as a mapping (its values text or lists of text) or as pairs.
    ``body`` is bytes, text (sent as UTF-8, as HTML unless a type is set), an iterator or async iterator
    of bytes or text, an ``IBodyProducer``, or a ``FileBody``.

    ``etag`` (with its quotes) and ``last_modified`` (seconds since the epoch) are sent, and a GET or HEAD
    whose preconditions say so is answered 304 or 412. ``conditional=True`` makes a strong ETag of a body
    that is bytes or text.
    """

    __slots__ = ("_headers", "_type", "body", "conditional", "etag", "last_modified", "status")

    def __init__(
        self,
        status: int = 200,
        headers: HeadersGiven = None,
        body: Any = b"",
        *,
        content_type: Text | None = None,
        etag: Text | None = None,
        last_modified: float | None = None,
        conditional: bool = False,
    ) -> None:
        if (type(status) is not int and not isinstance(status, int)) or not 200 <= status <= 599:
            raise ValueError(f"status is {status!r}; a response's is from 200 to 599")
        self.status = status
        self.body = body
        self.etag = etag.encode("ascii") if isinstance(etag, str) else etag
        self.last_modified = last_modified
        self.conditional = conditional
        self._headers: CheckedHeaders | None = None
        self._type = None if content_type is None else _checked("Content-Type", content_type)
        if headers is not None:
            _copy(headers, self.headers)

    @property
    def headers(self) -> Headers:
        headers = self._headers
        if headers is None:
            headers = self._headers = CheckedHeaders()
            if self._type is not None:
                headers.setRawHeaders(b"Content-Type", [self._type])
                self._type = None
        return headers

    # -- making -------------------------------------------------------------------------------

    @classmethod
    def text(cls, text: str, status: int = 200, headers: HeadersGiven = None) -> Response:
        """Plain text, as UTF-8."""
        return cls(status, headers, text.encode("utf-8"), content_type=b"text/plain; charset=utf-8")

    @classmethod
    def html(cls, html: str, status: int = 200, headers: HeadersGiven = None) -> Response:
        """An HTML page, as UTF-8. Nothing is escaped."""
        return cls(status, headers, html.encode("utf-8"), content_type=b"text/html; charset=utf-8")

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: HeadersGiven = None, *, default: Any = None) -> Response:
        """``value`` as JSON, by ``hardhttp.web.jsontext.encode_json``, as if a handler had returned it.

        With ``default`` by ``json.dumps``, whose it is. Raises ``TypeError`` or ``ValueError``.
        """
        body = encode_json(value) if default is None else json_bytes(value, default)
        return cls(status, headers, body, content_type=b"application/json")

    @classmethod
    def redirect(cls, to: str, status: int = 303, headers: HeadersGiven = None, *, external: bool = False) -> Response:
        """To a path of this site, ``/...``; with ``external`` to an ``http`` or ``https`` URL too.

        303 has the client ask for ``to`` by GET, 307 and 308 by the same method. For a target that leads,
        or might be read to lead, elsewhere raises ``TargetError``, a ``ValueError`` with the reason; if
        nobody catches it, it is answered 400, for whoever chose such a target was most likely the client.
        """
        if status not in _REDIRECTS:
            raise ValueError(f"status is {status!r}; a redirect's is one of 301, 302, 303, 307 and 308")
        try:
            target = location(to, external=external)
        except ValueError as error:
            reason = str(error)
        else:
            response = cls(status, headers)
            response.headers.setRawHeaders(b"Location", [target])
            return response
        raise TargetError(400, reason)

    @classmethod
    def file(
        cls,
        path: str | os.PathLike[str],
        status: int = 200,
        headers: HeadersGiven = None,
        *,
        content_type: Text | None = None,
        download_name: str | None = None,
    ) -> Response:
        """A file, with its length, type by name, ETag and Last-Modified.

        With ``download_name`` a browser saves it under that name instead of showing it. The file is
        opened now: raises ``OSError`` when it cannot be, or is no regular file. ``path`` is the
        application's: for paths that a client chooses there is ``StaticFiles``.
        """
        name = os.path.basename(os.fspath(path))
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        file = OpenFile(descriptor)
        try:
            facts = os.fstat(descriptor)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(f"{name!r} is no regular file")
            response = cls(
                status,
                headers,
                FileBody(file, facts.st_size),
                etag=b'"%x-%x-%x"' % (facts.st_mtime_ns, facts.st_size, facts.st_ino),
                last_modified=int(facts.st_mtime),
            )
            response.headers.setRawHeaders(
                b"Content-Type", [type_of(os.fsencode(name)) if content_type is None else content_type]
            )
            if download_name is not None:
                response.headers.setRawHeaders(b"Content-Disposition", [content_disposition(download_name)])
        except BaseException:
            file.close()
            raise
        return response

    @classmethod
    def stream(
        cls,
        pieces: Iterable[Text] | AsyncIterable[Text] | IBodyProducer,
        status: int = 200,
        headers: HeadersGiven = None,
        *,
        content_type: Text = b"application/octet-stream",
    ) -> Response:
        """What ``pieces`` yields, as it comes; the next is asked for when the client takes more.

        An empty piece sends the head at once. One that fails before its first piece is answered 500;
        afterwards it ends the connection, so that half a body does not look like a whole one. The
        iterator is closed at the end, and when the client goes.
        """
        return cls(status, headers, pieces, content_type=content_type)

    # -- cookies ------------------------------------------------------------------------------

    def set_cookie(
        self,
        name: Text,
        value: Text,
        *,
        max_age: int | None = None,
        expires: float | None = None,
        domain: Text | None = None,
        path: Text | None = "/",
        secure: bool = False,
        http_only: bool = True,
        same_site: cookies.SameSite = "Lax",
        partitioned: bool = False,
    ) -> None:
        """Set a cookie; see ``hardhttp.wire.cookies.set_cookie``, which says what raises ``ValueError``."""
        field = cookies.set_cookie(
            name,
            value,
            max_age=max_age,
            expires=expires,
            domain=domain,
            path=path,
            secure=secure,
            http_only=http_only,
            same_site=same_site,
            partitioned=partitioned,
        )
        self.headers.addRawHeader(b"Set-Cookie", field)

    def delete_cookie(
        self,
        name: Text,
        *,
        domain: Text | None = None,
        path: Text | None = "/",
        secure: bool = False,
        partitioned: bool = False,
    ) -> None:
        """Have the browser forget a cookie; ``domain``, ``path`` and ``partitioned`` as it was set."""
        field = cookies.delete_cookie(name, domain=domain, path=path, secure=secure, partitioned=partitioned)
        self.headers.addRawHeader(b"Set-Cookie", field)

    # -- ends ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Let go of the body; of a response that will not be sent. May be called more than once."""
        body, self.body = self.body, b""
        close_body(body)

    def __repr__(self) -> str:
        return f"<Response {self.status} {type(self.body).__name__}>"


def abort(status: int, detail: str = "", headers: Mapping[str, str] | None = None) -> NoReturn:
    """Answer this request with an error page, from wherever in its handler; raises ``HTTPError``."""
    raise HTTPError(status, detail, headers)


def json_bytes(value: Any, default: Any) -> bytes:
    """``value`` as JSON. ``NaN`` and infinities are none (RFC 8259, 6): raises ``ValueError``."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False, default=default).encode()


def _copy(given: Any, headers: Headers) -> None:
    """Add what an application gave as headers."""
    if isinstance(given, Headers):
        for name, values in given.getAllRawHeaders():
            headers.setRawHeaders(name, values)
    elif isinstance(given, Mapping):
        for name, value in given.items():
            headers.setRawHeaders(name, value if isinstance(value, (list, tuple)) else [value])
    elif isinstance(given, (str, bytes)):
        raise TypeError(f"headers are {type(given).__name__}; they are Headers, a mapping or pairs")
    else:
        for name, value in given:
            headers.addRawHeader(name, value)


def close_body(body: Any) -> None:
    """Let go of a body that is not sent, or no further; a failure is logged."""
    if isinstance(body, (bytes, str)):
        return
    try:
        if hasattr(body, "aclose"):
            Deferred.fromCoroutine(_closed(body)).addErrback(_log_failure)
        elif hasattr(body, "close"):
            body.close()
        elif IBodyProducer.providedBy(body):
            with suppress(AttributeError):  # one that has not begun has nothing to stop, and may not know
                body.stopProducing()
    except Exception:
        _log.failure("a response's body could not be closed")


async def _closed(body: Any) -> None:
    await body.aclose()


def _log_failure(failure: Any) -> None:
    _log.failure("a response's body could not be closed", failure=failure)
    failure.cleanFailure()
