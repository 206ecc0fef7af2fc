"""The response half of a request: what an application has set and written, as bytes for the channel.

A response that is one piece of bytes, with nothing unusual about it, is one head from a cache and one
write; everything else is made of ``responseHeaders`` and goes out as it is written. Framing is never
the application's: a response is as long as its Content-Length said, in chunks, or ends with its
connection.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import CACHED, datetimeToString
from twisted.web.http_headers import Headers

from hardhttp.errors import Reason
from hardhttp.web.beforehead import BeforeHead
from hardhttp.web.headers import PLAIN_NAMES, ResponseHeaders
from hardhttp.web.onstream import OnStream
from hardhttp.web.remembering import Remembering
from hardhttp.wire.conditional import evaluate, kept_in_304
from hardhttp.wire.cookies import plain_cookie
from hardhttp.wire.grammar import FIELD_VALUE, list_items
from hardhttp.wire.response import LAST_CHUNK, chunk, encode_head, has_no_body, reason_phrase

__all__ = ["SERVER_NAME", "Responding"]

SERVER_NAME = b"hardhttp"
# To join so much with its head costs more than another call of the kernel.
LONG_BYTES = 64 * 1024


class Responding(BeforeHead, Remembering, OnStream, server.Request):
    """What ``hardhttp.web.request.Request`` says; that class makes the attributes used here."""

    _log = Logger(namespace="hardhttp")

    channel: Any
    head: Any
    site: Any
    _encoder: Any
    _end: Failure | None
    _headers: Headers | None
    _plain: dict[bytes, bytes] | None
    _cookies: list[bytes] | None
    _remaining: int | None
    _started_seconds: float
    _first_seconds: float | None

    # Whether ``write`` and ``finish`` are the ones below, so that nothing is missed by going around them.
    _own_output: ClassVar[bool] = True

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls._own_output = cls.write is Responding.write and cls.finish is Responding.finish

    @property
    def responseHeaders(self) -> Headers:
        headers = self._headers
        if headers is None:
            server = self.site.server
            plain, self._plain = self._plain, None
            headers = self._headers = ResponseHeaders(SERVER_NAME, server.date(), plain)
        return headers

    @responseHeaders.setter
    def responseHeaders(self, headers: Headers | None) -> None:
        self._headers = headers

    @property
    def cookies(self) -> list[bytes]:
        """The values of Set-Cookie; use ``addCookie``."""
        if self._cookies is None:
            self._cookies = []
        return self._cookies

    @cookies.setter
    def cookies(self, cookies: list[bytes] | None) -> None:
        self._cookies = cookies

    def _respond(self, body: bytes) -> None:
        """Send a whole response."""
        if self._session is not None and not self.startedWriting and self._session_holds(body):
            return
        if self._head_calls is not None:
            coded = self._before_whole(body)
            if coded is None:
                return
            body = coded
        if (
            not self._own_output
            or self._encoder is not None
            or self.startedWriting
            or self.finished
            or self._end is not None
        ):
            self._respond_by_write(body)
            return
        channel = self.channel
        length = len(body)
        if channel.multiplexed:
            self._respond_on_stream(channel, body)
            return
        if self._headers is None and self.code == 200 and self.method != b"HEAD" and self._is_plain():
            self.sentLength = length
            head = self._plain_head(length)
        elif self.method != b"HEAD" and not has_no_body(self.code):
            self.sentLength = length
            head = self._head(length)
        else:
            head = self._head(length or None)  # an empty body says nothing of what GET would send
            body = b""
        self.startedWriting = 1
        self._send(head, body)
        self._finished()

    def _send(self, head: bytes, body: bytes) -> None:
        """Both in one write; but a long body by itself: what many are sent is then in memory once."""
        if len(body) < LONG_BYTES:
            self.channel.write(head + body)
        else:
            if head:
                self.channel.write(head)
            if self.channel is not None:
                self.channel.write(body)

    def _is_plain(self) -> bool:
        """Whether nothing has been asked for that a head made of ``_plain`` would not say."""
        return self._cookies is None and self.etag is None and self.lastModified is None and self.code_message == b"OK"

    def _plain_head(self, length: int) -> bytes:
        """The head of a 200 with ``length`` bytes and nothing unusual."""
        fields = self._plain
        if fields is None:
            block = self.site.preamble(self.defaultContentType if length else None)
        elif len(fields) == 1 and b"Content-Type" in fields:
            block = self.site.preamble(fields[b"Content-Type"])
        else:
            block = self.site.preamble(fields.get(b"Content-Type", self.defaultContentType if length else None))
            for name, value in fields.items():
                if name != b"Content-Type":
                    block += b"%b: %b\r\n" % (name, value)
        if self.channel.keep_alive and self.clientproto == b"HTTP/1.1":
            return b"%bContent-Length: %d\r\n\r\n" % (block, length)
        if not self.channel.keep_alive:
            return b"%bContent-Length: %d\r\nConnection: close\r\n\r\n" % (block, length)
        return b"%bContent-Length: %d\r\nConnection: keep-alive\r\n\r\n" % (block, length)

    def _respond_by_write(self, body: bytes) -> None:
        """The same through ``write`` and ``finish``, which a subclass or an encoder may watch."""
        if not self.startedWriting and not (self.method == b"HEAD" and not body) and self._end is None:
            self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)
        self.finish()

    def _has_header(self, name: bytes) -> bool:
        if self._headers is not None:
            return self._headers.hasHeader(name)
        return self._plain is not None and name in self._plain

    def _head(self, length: int | None) -> bytes:
        """The response's head, for a body of ``length``, or of a length not known yet."""
        channel, code = self.channel, self.code
        raw = self._complete(length)
        options = raw.get(b"Connection", ())
        if options and b"close" in list_items(options):
            channel.keep_alive = False
        elif not channel.keep_alive:
            raw[b"Connection"] = [*options, b"close"]
        elif self.clientproto == b"HTTP/1.0":
            raw[b"Connection"] = [*options, b"keep-alive"]
        if self._cookies:
            raw[b"Set-Cookie"] = [*raw.get(b"Set-Cookie", ()), *self._cookies]
        return encode_head(code, self.code_message, raw)

    def _complete(self, length: int | None) -> dict[bytes, Sequence[bytes]]:
        """What the application has set, and what it left to us: type, validators, framing."""
        headers = self.responseHeaders
        raw = dict(headers.getAllRawHeaders())
        raw.pop(b"Transfer-Encoding", None)  # framing is ours
        if has_no_body(self.code):
            if self.code != 304:
                raw.pop(b"Content-Length", None)  # RFC 9110, 8.6
        else:
            if length is not None and not (self.method == b"HEAD" and b"Content-Length" in raw):
                raw[b"Content-Length"] = [b"%d" % length]
            if (
                b"Content-Type" not in raw
                and self.defaultContentType is not None
                and raw.get(b"Content-Length") != [b"0"]
            ):
                raw[b"Content-Type"] = [self.defaultContentType]
        if self.lastModified is not None and b"Last-Modified" not in raw:
            raw[b"Last-Modified"] = [datetimeToString(self.lastModified)]
        if self.etag is not None:
            raw[b"ETag"] = [self.etag]
        if self.code == 304:
            has_etag = b"ETag" in raw
            raw = {name: values for name, values in raw.items() if kept_in_304(name, has_etag=has_etag)}
        return raw

    # -- conditional requests and cookies -----------------------------------------------------

    def combined(self, name: bytes) -> bytes | None:
        """The value of a request's field, its lines joined (RFC 9110, 5.3); ``name`` is in lower case."""
        head = None if "requestHeaders" in self.__dict__ or name == b"cookie" else self.head  # as getHeader
        if head is None:
            values = list(self.requestHeaders.getRawHeaders(name, ()))
        else:
            values = [value for key, value in head.fields if key == name]
        return b", ".join(values) if values else None

    def setETag(self, etag: bytes) -> Any:
        """Set the ETag, with its quotes; ``CACHED`` when the preconditions are settled: then write no body.

        The response's code is 304 or 412 then (RFC 9110, 13.2.2).
        """
        if not etag:
            return None
        self.etag = etag
        return self._conditioned(self.combined)

    def setLastModified(self, when: float) -> Any:
        """Set Last-Modified, in seconds since the epoch, unless it is set to a later time; as ``setETag``."""
        when = math.ceil(when)
        if not self.lastModified or self.lastModified < when:
            self.lastModified = when
        # Conditions on tags go before those on dates, and cannot be judged before the tag is known.
        if self.etag is None and (self.combined(b"if-match") or self.combined(b"if-none-match")):
            return None
        return self._conditioned(self.combined)

    def _conditioned(self, get: Callable[[bytes], bytes | None]) -> Any:
        if not 200 <= self.code < 300 and self.code not in (304, 412):
            return None  # 13.2.1: what is refused anyway is refused as it is
        verdict = evaluate(self.method, get, self.etag, self.lastModified)
        if verdict is None:
            return None
        self.setResponseCode(verdict)
        return CACHED

    def addCookie(
        self,
        k: Any,
        v: Any,
        expires: Any = None,
        domain: Any = None,
        path: Any = None,
        max_age: Any = None,
        comment: Any = None,
        secure: Any = None,
        httpOnly: Any = False,
        sameSite: Any = None,
    ) -> None:
        """As ``twisted.web``'s, which makes a blank of CR, LF and ``;``. ``Response.set_cookie`` is stricter.

        Raises ``ValueError`` for a name that is no token, for other control characters, and for what
        browsers drop: see ``hardhttp.wire.cookies.plain_cookie``.
        """
        self.cookies.append(plain_cookie(k, v, expires, domain, path, max_age, comment, secure, httpOnly, sameSite))

    def setHeader(self, name: Any, value: Any) -> None:
        """Set a response header. Until something looks at ``responseHeaders``, plain ones are only noted."""
        if self._headers is None:
            known = PLAIN_NAMES.get(name)
            if known is not None and type(value) is bytes and FIELD_VALUE.fullmatch(value) is not None:
                if self._plain is None:
                    self._plain = {known: value}
                else:
                    self._plain[known] = value
                return
        self.responseHeaders.setRawHeaders(name, [value])

    def write(self, data: bytes) -> None:
        """Send part of the response; the first call sends its head."""
        if self.finished or self._end is not None or self.channel is None:
            if self.site is not None:
                self.site.server.statistics.ignored_writes += 1
            return
        if not isinstance(data, bytes):
            raise TypeError(f"data must be bytes, not {type(data).__name__}")
        prefix = b""
        self.channel.cork()
        if not self.startedWriting:
            prefix = self._begin_stream()
        if self._encoder is not None:
            data = self._encoder.encode(data)
        self._write_part(prefix, data)

    def _begin_stream(self) -> bytes:
        """The head of a response whose end is not known."""
        self._first_seconds = self.site.server.seconds() - self._started_seconds
        if self._session is not None:
            self._session_before_stream()
        if self._head_calls is not None:
            self._before_stream()
        if self._encoder is not None:
            self.responseHeaders.removeHeader(b"content-length")
        bodiless = self.method == b"HEAD" or has_no_body(self.code)
        length = self.responseHeaders.getRawHeaders(b"content-length")
        if length is not None and not (len(length) == 1 and length[0].isdigit()):
            self.responseHeaders.removeHeader(b"content-length")
            length = None
        if length is not None:
            self._remaining = int(length[0])
        elif not bodiless and not self.channel.multiplexed:
            if self.clientproto == b"HTTP/1.1":
                self.chunked = 1
            else:
                self.channel.keep_alive = False  # the end of the connection ends the body
        if self.channel.multiplexed:
            self._begin_on_stream(self.channel)
            return b""
        head = self._head(None)
        if self.chunked:
            head = head[:-2] + b"Transfer-Encoding: chunked\r\n\r\n"
        self.startedWriting = 1
        self.channel.began()
        return head

    def _write_part(self, prefix: bytes, data: bytes) -> None:
        if data:
            if self.method == b"HEAD" or has_no_body(self.code):
                data = b""
            elif self._remaining is not None:
                if len(data) > self._remaining:
                    # What is beyond Content-Length would be taken for another response.
                    self._log.warn("{path!r}: more was written than Content-Length said", path=self.path)
                    data = data[: self._remaining]
                self._remaining -= len(data)
            self.sentLength += len(data)
            if data and self.chunked:
                data = chunk(data)
        if prefix or data:
            self._send(prefix, data)

    @property
    def sends_files(self) -> bool:
        """Whether ``sendFile`` can send (part of) the body."""
        channel = self.channel
        plain = self._own_output and self._encoder is None and not self.chunked
        return plain and channel is not None and bool(channel.sends_files)

    def sendFile(self, descriptor: int, offset: int, count: int, more: bool = False) -> int | None:
        """Send ``count`` bytes of an open file from the kernel's cache; how many went, which may be fewer.

        ``None`` when none can go now, 0 at the file's end. When fewer went, or when there is ``more`` to
        come, the registered push producer is resumed as soon as the client takes more. The head must
        have been written, with a Content-Length. Raises ``OSError`` for what is wrong with the file.
        """
        if self.finished or self._end is not None or self.channel is None:
            return None
        if self._remaining is not None:
            count = min(count, self._remaining)
        sent: int | None = self.channel.sendFile(descriptor, offset, count, more)
        if sent:
            self.sentLength += sent
            if self._remaining is not None:
                self._remaining -= sent
        return sent

    def writeChunk(self, data: bytes, framed: bytes) -> None:
        """``write(data)``, where ``framed`` is ``data`` as one chunk already: for many receivers of one thing."""
        if (
            self.chunked
            and self.channel is not None
            and not self.finished
            and self._encoder is None
            and self._own_output
        ):
            self.sentLength += len(data)
            self.channel.write(framed)
        else:
            self.write(data)

    @property
    def is_corked(self) -> bool:
        """Whether what is written is held back for now."""
        return bool(self.chunked) and self.channel is not None and self.channel.is_corked

    def plain_transport(self) -> Any:
        """Where chunks of this response may be written to as they are, past it and its connection; or ``None``.

        Whoever does has to keep to what ``pauseProducing`` says, and to tell ``count_past``.
        """
        if not self.chunked or self.finished or self._encoder is not None or not self._own_output:
            return None
        return None if self.channel is None else self.channel.plain_transport()

    def count_past(self, data_bytes: int, framed_bytes: int) -> None:
        """So much went past this request: bytes of the body, and the same with their framing."""
        self.sentLength += data_bytes
        if self.channel is not None:
            self.channel.count_past(framed_bytes)

    def finish(self) -> None:
        """The response is whole."""
        if self.finished or self._end is not None or self.channel is None:
            if self.site is not None:
                self.site.server.statistics.ignored_writes += 1
            return
        if self._session is None or not self._session_holds(None):
            self._finish()

    def _finish(self) -> None:
        if not self.startedWriting:
            if self.method != b"HEAD" and self._encoder is None:
                self._respond_empty()
                return
            self.write(b"")
        if self._encoder is not None:
            self._write_part(b"", self._encoder.finish())
            self._encoder = None
        if self.chunked:
            self.channel.write(LAST_CHUNK)
        elif self._remaining and self.method != b"HEAD" and not has_no_body(self.code):
            self._log.warn("{path!r}: less was written than Content-Length said", path=self.path)
            self.channel.abort(Reason.SHORT_RESPONSE)
            return
        self._finished()

    def _respond_empty(self) -> None:
        if self._head_calls is not None:
            self._before_whole(b"")
        if self.channel.multiplexed:
            self._respond_on_stream(self.channel, b"")
            return
        head = self._head(0)
        self.startedWriting = 1
        self.channel.write(head)
        self._finished()

    def _finished(self) -> None:
        raise AssertionError("a request knows how to end")

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As ``IConsumer``; a producer that comes after the end is stopped."""
        if self.channel is None:
            producer.stopProducing()
        else:
            super().registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self.producer = None
        if self.channel is not None:
            self.channel.unregisterProducer()

    def setResponseCode(self, code: int, message: bytes | None = None) -> None:
        self.code = code
        self.code_message = reason_phrase(code) if message is None else message
