"""A multipart form as it arrives: ``async for part in request.stream_form()``.

Each part is awaited, and its content in pieces, ``async for piece in part``; what a handler does not
take of a part is passed over when it asks for the next. Nothing is kept but one piece of the body, and
the client sends no faster than the handler takes. Fields and files are counted as in any form; what is
read into memory (``part.read``, ``part.text``) is bounded by ``max_form_bytes``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Self

from hardhttp.errors import Fault, HTTPError, LimitFault, Reason
from hardhttp.limits import Limits
from hardhttp.web.uploads import safe_filename
from hardhttp.wire.charsets import UTF_8
from hardhttp.wire.formdata import FormDataParser, PartHead

__all__ = ["FormPart", "FormStream"]

# What a fault is answered with.
Refusal = Callable[[Fault], HTTPError]


class FormPart:
    """A field or a file, as it arrives.

    ``name`` is the field's; ``filename`` as sent, ``None`` for a field; ``content_type`` without its
    parameters; ``headers`` as (name, value). Its content can be had once, and until the next part is
    asked for.
    """

    __slots__ = ("_codec", "_number", "_stream", "content_type", "filename", "headers", "name")

    def __init__(self, head: PartHead, stream: FormStream, number: int) -> None:
        self.name = head.name
        self.filename = head.filename
        self.content_type = head.content_type or ("text/plain" if head.filename is None else "application/octet-stream")
        self.headers = head.headers
        self._codec = head.codec
        self._stream = stream
        self._number = number

    def __repr__(self) -> str:
        return f"<FormPart {self.name!r}>"

    @property
    def safe_filename(self) -> str:
        """``filename`` as a name that any file system takes; see ``hardhttp.web.uploads.safe_filename``."""
        return safe_filename(self.filename or "")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        return await self._stream.piece_of(self._number)

    async def read(self, max_bytes: int | None = None) -> bytes:
        """The rest of the content. Raises ``HTTPError`` (413) past ``max_bytes`` (``max_form_bytes``)."""
        bound = self._stream.max_form_bytes if max_bytes is None else max_bytes
        whole = bytearray()
        async for piece in self:
            whole += piece
            if len(whole) > bound:
                fault = LimitFault(413, Reason.FORM_BYTES, f"a part of the form is longer than {bound} bytes")
                raise self._stream.refusal(fault)
        return bytes(whole)

    async def text(self, max_bytes: int | None = None) -> str:
        """The same as text, in the part's charset, or the form's. Raises ``HTTPError`` (400)."""
        whole = await self.read(max_bytes)
        codec = self._codec or self._stream.codec
        try:
            return whole.decode(codec)
        except ValueError:
            pass
        raise HTTPError(400, f"a field of the form is not in its charset, {codec}")


class FormStream:
    """The parts of a multipart form. ``source`` gives its body in pieces.

    Raises ``HTTPError``: 400 for a malformed form, 413 past a bound. Whatever ``source`` raises, it
    raises.
    """

    def __init__(
        self, source: AsyncIterator[bytes], boundary: str, limits: Limits, refusal: Refusal, codec: str = UTF_8
    ) -> None:
        self._source = source
        self._parser = FormDataParser(boundary, limits, codec)
        self._events: Iterator[PartHead | bytes | None] = iter(())
        self._number = 0
        self._within = False  # a part
        self._ended = False
        self.refusal = refusal
        self.codec = codec
        self.max_form_bytes = limits.max_form_bytes

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> FormPart:
        while not self._ended:
            event = await self._next()
            if isinstance(event, PartHead):
                self._number += 1
                self._within = True
                return FormPart(event, self, self._number)
        raise StopAsyncIteration

    async def piece_of(self, number: int) -> bytes:
        """A piece of the content of part ``number``, if that is the one at hand."""
        if number == self._number and self._within:
            event = await self._next()
            if isinstance(event, bytes):
                return event
        raise StopAsyncIteration

    async def _next(self) -> PartHead | bytes | None:
        """What comes next; ``None`` when a part has ended, or everything."""
        while True:
            fault: Fault | None = None
            try:
                for event in self._events:
                    if event is None:
                        self._within = False
                    return event
                if self._ended:
                    self._parser.end()
                    return None
            except Fault as raised:
                self._ended, fault = True, raised.with_traceback(None)
            if fault is not None:
                raise self.refusal(fault)
            try:
                self._events = self._parser.feed(await self._source.__anext__())
            except StopAsyncIteration:
                self._ended = True
