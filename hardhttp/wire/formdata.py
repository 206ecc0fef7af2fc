"""``multipart/form-data`` (RFC 7578), in pieces, with the same verdict however they are cut.

The tokens are the ``multipart`` library's; what is settled here is what it leaves open or lets the
pieces decide: the body begins with its boundary; a header line is whole, of bounded length and without
control characters; a part has one ``Content-Disposition`` and a name; a part's own ``Content-Length``
is ignored (RFC 7578, 4.8); multipart within multipart and transfer encodings, both long deprecated
(4.3 and 4.7), are refused rather than taken for content. Fields and files are counted as they begin.

The parser keeps no content. It knows where each part's content begins, so whoever keeps the body need
not keep its files a second time.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote_to_bytes

import attrs
from multipart import (
    MultipartError,
    MultipartSegment,
    ParserError,
    PushMultipartParser,
    parse_options_header,
)

from hardhttp.errors import LimitFault, PeerFault, Reason
from hardhttp.limits import Limits
from hardhttp.wire.charsets import UTF_8, text_codec

__all__ = ["FormDataParser", "PartHead", "boundary_of"]

# RFC 7578 knows three fields in a part's header; a name and a file name fill no more than this.
MAX_LINE_BYTES = 4096
MAX_LINES = 8

# RFC 2046, 5.1.1
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,\-./:=? ]{0,69}[0-9A-Za-z'()+_,\-./:=?]")
_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
# One without an end goes on to the end of its line: looking for it anew at each quote would be quadratic.
_QUOTED = re.compile(r'"(?:\\.|[^\\"])*"?')
# RFC 8187, 3.2.1
_EXTENDED = re.compile(r";[ \t]*filename\*[ \t]*=[ \t]*([^;\s]*)", re.IGNORECASE)
_EXTENDED_VALUE = re.compile(
    r"(utf-8|iso-8859-1)'[A-Za-z0-9-]*'((?:%[0-9A-F]{2}|[!#$&+\-.^_`|~0-9A-Z])*)", re.IGNORECASE
)
_BROKEN_LINE = f"a part's header has a malformed line, or one of more than {MAX_LINE_BYTES} bytes"


class _Malformed(ParserError):  # type: ignore[misc]
    """Malformed by our rules; says how, in words of ours."""


@attrs.frozen
class PartHead:
    """What comes before a part's content.

    ``filename`` is ``None`` for a field. ``content_type`` is in lower case and without parameters,
    ``codec`` that of its ``charset``. ``at`` is where the content begins in the body.
    """

    name: str
    filename: str | None
    content_type: str | None
    codec: str | None
    headers: tuple[tuple[str, str], ...] = attrs.field(repr=False)
    at: int


def boundary_of(content_type: str) -> str:
    """The boundary a Content-Type names. Raises ``PeerFault`` (400)."""
    boundary: str = parse_options_header(content_type)[1].get("boundary", "")
    if content_type.lower().count("boundary=") > 1:
        raise PeerFault(400, Reason.BAD_FORM, "the multipart form has more than one boundary")
    if _BOUNDARY.fullmatch(boundary) is None:
        detail = "the multipart form needs a boundary of 1 to 70 characters (RFC 2046, 5.1.1)"
        raise PeerFault(400, Reason.BAD_FORM, detail)
    return boundary


class FormDataParser:
    """Gives, for each part, a ``PartHead``, its content in pieces, and ``None`` at its end.

    ``codec`` is that of names and file names. Raises ``PeerFault`` (400) for what is malformed and
    ``LimitFault`` (413) past ``max_form_fields`` and ``max_form_files``.
    """

    def __init__(self, boundary: str, limits: Limits, codec: str = UTF_8) -> None:
        self._parser = _Parser(
            boundary, max_header_size=MAX_LINE_BYTES + 1, max_header_count=MAX_LINES, header_charset=codec
        )
        self._delimiter = b"--" + boundary.encode("ascii")
        self._limits = limits
        self._start: bytes | None = b""  # until the first delimiter can be whole
        self._fields = self._files = 0
        self._at = 0

    def feed(self, piece: bytes) -> Iterator[PartHead | bytes | None]:
        """What ``piece`` brings. Must be exhausted before the next one is fed."""
        if self._start is not None:
            self._start += piece
            if len(self._start) < len(self._delimiter) + 4:
                return
            piece = self._begin()
        if not piece:
            return
        detail = ""
        try:
            for event in self._parser.parse(piece):
                if event is None:
                    self._at += len(self._delimiter) + 4
                    yield None
                elif isinstance(event, MultipartSegment):
                    yield self._part(event)
                else:
                    self._at += len(event)
                    yield bytes(event)
        except MultipartError as error:
            detail = _said(error)
            self._parser.error = None  # its traceback leads back here
        if detail:
            raise PeerFault(400, Reason.BAD_FORM, detail)

    def end(self) -> None:
        """The body is whole. Raises ``PeerFault`` (400) unless the form is."""
        if self._start is not None:
            piece = self._begin()
            self._start = None
            for _ in self.feed(piece):
                pass  # no part fits into so little
        try:
            self._parser.close()
            whole = True
        except MultipartError as error:
            error.__traceback__ = self._parser.error = None  # each leads back to the other
            whole = False
        if not whole:
            raise PeerFault(400, Reason.BAD_FORM, "the multipart form ends before its last boundary")

    def _begin(self) -> bytes:
        """The start of the body. What RFC 2046 allows before the first boundary, no form has."""
        start, self._start = self._start or b"", None
        lead = 2 if start.startswith(b"\r\n") else 0
        if not start.startswith(self._delimiter, lead):
            raise PeerFault(400, Reason.BAD_FORM, "the multipart form does not begin with its boundary")
        self._at = lead + len(self._delimiter) + 2
        return start

    def _part(self, segment: MultipartSegment) -> PartHead:
        self._at += self._parser.take_header_bytes()
        limits = self._limits
        disposition = segment.header("Content-Disposition")
        filename = segment.filename
        if filename is None:
            filename = _extended_filename(disposition)
        if filename is None:
            self._fields += 1
            if self._fields > limits.max_form_fields:
                raise LimitFault(413, Reason.FORM_FIELDS, f"more than {limits.max_form_fields} fields")
        else:
            self._files += 1
            if self._files > limits.max_form_files:
                raise LimitFault(413, Reason.FORM_FIELDS, f"more than {limits.max_form_files} files")
        codec = None
        if segment.charset is not None:
            codec = text_codec(segment.charset)
            if codec is None and filename is None:
                raise PeerFault(400, Reason.BAD_FORM, "a field's charset is not known")
        name = segment.name or ""
        return PartHead(name, filename, segment.content_type, codec, tuple(segment.headerlist), self._at)


class _Parser(PushMultipartParser):  # type: ignore[misc]
    """The library's parser, with our rules for a part's header."""

    _header_bytes = 0

    def take_header_bytes(self) -> int:
        """Of the header just read, with its empty line."""
        size, self._header_bytes = self._header_bytes + 2, 0
        return size

    def _on_segment_headerline(self, line: bytes) -> None:
        self._header_bytes += len(line) + 2
        if len(line) > MAX_LINE_BYTES or _CONTROLS.search(line) is not None:
            raise _Malformed(_BROKEN_LINE)
        super()._on_segment_headerline(line)
        self._segment_limit = -1

    def _create_segment(self, headerlist: list[tuple[str, str]]) -> MultipartSegment:
        segment = MultipartSegment(headerlist)
        names = [name for name, _ in headerlist]
        if names.count("Content-Disposition") != 1 or segment.disposition != "form-data" or segment.name is None:
            raise _Malformed("a part needs one Content-Disposition: form-data, with a name")
        if names.count("Content-Type") > 1:
            raise _Malformed("a part has more than one Content-Type")
        if (segment.content_type or "").startswith("multipart/"):
            raise _Malformed("a part of the multipart form is multipart itself (RFC 7578, 4.3)")
        coding = segment.header("Content-Transfer-Encoding", "binary")
        if coding.strip().lower() not in ("7bit", "8bit", "binary"):
            raise _Malformed("a part has a Content-Transfer-Encoding (RFC 7578, 4.7)")
        return segment


def _said(error: MultipartError) -> str:
    """What is wrong, in a sentence that is the same however the body was cut."""
    said = str(error.args[0]) if error.args else ""
    if isinstance(error, _Malformed):
        return said
    if said.endswith(("line break in segment header", "segment header length exceeded")):
        return _BROKEN_LINE
    return f"the multipart form is malformed: {said[:1].lower()}{said[1:]}"


def _extended_filename(disposition: str) -> str | None:
    """``filename*``, which forms must not have (RFC 7578, 4.2) and older clients send all the same.

    It counts only where there is no ``filename``.
    """
    found = _EXTENDED.search(_QUOTED.sub('""', disposition))
    if found is None:
        return None
    value = _EXTENDED_VALUE.fullmatch(found[1])
    try:
        if value is not None:
            return unquote_to_bytes(value[2]).decode(value[1])
    except UnicodeDecodeError:
        pass
    raise PeerFault(400, Reason.BAD_FORM, "a part's filename* is malformed (RFC 8187, 3.2)")
