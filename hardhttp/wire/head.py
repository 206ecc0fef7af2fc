"""A request's head: found inside a bound, tokenised by llhttp, judged by our rules.

The framing is ours: the blank line is searched for inside ``max_head_bytes`` and exactly that much
is handed to the tokeniser, which is strict about characters but knows nothing of Host, of several
Transfer-Encodings or of methods outside its table. So the request line is read here, and the
fields that decide framing are judged here.

The verdict on a head depends on its bytes alone, never on how they were split: an incomplete head
is refused only for what no continuation could mend, and in the order in which a whole one would be
judged (request line, bare LF, length; then the fields).

A ``HeadParser`` keeps nothing of a message between two calls (but the last valid Host) and may serve
every connection of a process.
"""

from __future__ import annotations

import re

import httptools

from hardhttp.errors import LimitFault, OurFault, PeerFault, Reason
from hardhttp.limits import Limits
from hardhttp.wire.body import length_of
from hardhttp.wire.grammar import AUTHORITY, FIELD_LINES, HOST, TARGET, TOKEN, VERSION, list_items

__all__ = ["Head", "HeadParser"]

# Those that need no look of their own.
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"})

# The fields that decide framing, routing and persistence; all others are the application's, and are
# cut from their lines only when it asks for them. A few others match as well ("cost"): this only finds
# candidates, quickly.
_DECIDING = re.compile(
    rb"\n([HhCcTtEeUu](?i:ost|ontent-length|ransfer-encoding|onnection|xpect|pgrade)):[ \t]*([^\r]*)"
)
_TCHARS = frozenset(b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")

_SLASH = 0x2F
MAX_REPEATABLE_BYTES = 1024

# The tokeniser gets a request line of its own: ours may hold a method it has never heard of.
_LINE = b"GET / HTTP/1.1"


class Head:
    """One request's head.

    ``target`` is in origin-form, or ``*``; of an absolute-form target the authority has become
    ``authority`` (RFC 9112, 3.2.2). ``content_length`` is ``None`` without a Content-Length;
    ``chunked`` and it exclude each other. A ``repeatable`` head is small and frames nothing, so that one
    with the same field lines may be made from it, and one with the same request ``line`` too is itself.
    ``memo`` is for what somebody has made of the field lines: it goes on to the heads made so.
    """

    __slots__ = (
        *("_fields", "authority", "chunked", "content_length", "expect_continue", "keep_alive", "line", "lines"),
        *("memo", "method", "repeatable", "target", "upgrade", "version"),
    )

    def __init__(self, method: bytes, target: bytes, version: bytes, lines: bytes, line: bytes = b"") -> None:
        self.method = method
        self.target = target
        self.version = version
        self.line = line
        self.lines = lines
        self._fields: list[tuple[bytes, bytes]] | None = None
        self.authority: bytes | None = None
        self.content_length: int | None = None
        self.chunked = False
        self.keep_alive = version == b"HTTP/1.1"
        self.expect_continue = False
        self.upgrade = False
        self.repeatable = False
        self.memo: object = None

    @property
    def fields(self) -> list[tuple[bytes, bytes]]:
        """The fields, (lower-case name, value), in order."""
        fields = self._fields
        if fields is None:
            fields = self._fields = [
                (name.lower(), value.strip(b" \t"))
                for name, _, value in [line.partition(b":") for line in self.lines[2:-4].split(b"\r\n")]
                if name
            ]
        return fields

    @property
    def has_body(self) -> bool:
        """Whether a body follows (RFC 9112, 6.3: neither field means none)."""
        return self.chunked or bool(self.content_length)

    def again(self, method: bytes, target: bytes) -> Head:
        """A head with these fields and another request line, in origin-form."""
        head = Head(method, target, self.version, self.lines)
        head.authority = self.authority
        head.keep_alive = self.keep_alive
        head.repeatable = True
        head.memo = self.memo
        return head

    def __repr__(self) -> str:
        # Fields hold cookies and credentials, targets hold tokens.
        return f"<Head {self.method!r}>"


class HeadParser:
    """Cuts heads from a connection's bytes."""

    __slots__ = ("_host", "_tokeniser")

    def __init__(self) -> None:
        self._host: bytes | None = None
        self._tokeniser = httptools.HttpRequestParser(self)

    def parse(self, data: bytes, start: int, limits: Limits, previous: Head | None = None) -> tuple[Head, int] | None:
        """The head that begins at ``data[start]`` and where it ends, or ``None`` if more is needed.

        ``previous`` may be the connection's head before this one: most clients say the same fields
        again and again, and what was judged once is not judged twice.
        Raises ``Fault`` with 400, 414, 417, 431, 501 or 505.
        """
        begin = start
        # RFC 9112, 2.2: empty lines before a request line are ignored. They count as head bytes.
        while (line_end := data.find(b"\r\n", begin)) == begin:
            begin += 2
        if previous is not None and line_end == len(data) - len(previous.lines) and data.endswith(previous.lines):
            lines, end = previous.lines, len(data) - 4
        else:
            end = data.find(b"\r\n\r\n", begin)
            lines = data[line_end : end + 4]
        if end < 0 or end + 4 - start > limits.max_head_bytes:
            _judge_prefix(data, start, begin, limits)
            return None
        line = data[begin:line_end]
        if previous is not None and lines != previous.lines:
            previous = None
        if previous is not None and line == previous.line:
            return previous, end + 4
        method, target, version = _request_line(line, limits)
        if previous is not None and version == previous.version and target[0] == _SLASH:
            head = previous.again(method, target)
            head.line, head.repeatable = line, end - begin <= MAX_REPEATABLE_BYTES
            return head, end + 4
        deciding = _DECIDING.findall(lines)
        self._tokenise(lines, deciding)
        if lines.count(b"\n") - 2 > limits.max_headers:
            raise LimitFault(431, Reason.HEADERS, f"more than {limits.max_headers} header fields")
        head = Head(method, target, version, lines, line)
        self._decide(head, deciding)
        # An absolute target's authority is not its Host; a large head is not worth keeping.
        head.repeatable = (
            target[0] == _SLASH
            and head.content_length is None
            and not (head.chunked or head.upgrade or head.expect_continue)
            and end - begin <= MAX_REPEATABLE_BYTES
        )
        return head, end + 4

    def _tokenise(self, lines: bytes, deciding: list[tuple[bytes, bytes]]) -> None:
        """Refuse ``lines`` (from the CRLF before the first field to the blank line) unless they are
        well-formed field lines."""
        try:
            self._tokeniser.feed_data(_LINE + lines)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            # Characters, or framing? The latter is judged below, with a better name.
            if FIELD_LINES.fullmatch(lines, 2, len(lines) - 2) is None:
                self._tokeniser = httptools.HttpRequestParser(self)
                raise PeerFault(400, Reason.BAD_HEADER, "the header is not made of well-formed field lines") from None
        else:
            for name, value in deciding:
                if len(name) != 4 and value != b"keep-alive":
                    break
            else:
                return
        # It may wait now for a body, or for the connection's end.
        self._tokeniser = httptools.HttpRequestParser(self)

    def _decide(self, head: Head, deciding: list[tuple[bytes, bytes]]) -> None:
        """Judge the fields that frame the message."""
        host: bytes | None = None
        lengths: list[bytes] = []
        codings: list[bytes] = []
        connection: list[bytes] = []
        for name, value in deciding:
            name = name.lower()
            value = value.rstrip(b" \t")
            if name == b"host":
                if host is not None:
                    raise PeerFault(400, Reason.BAD_HOST, "more than one Host field")
                host = value
            elif name == b"connection":
                connection.append(value)
            elif name == b"content-length":
                lengths.append(value)
            elif name == b"transfer-encoding":
                codings.append(value)
            elif name == b"upgrade":
                head.upgrade = True
            elif name == b"expect" and head.version != b"HTTP/1.0":  # RFC 9110, 10.1.1: ignored in HTTP/1.0
                if value.lower() != b"100-continue":
                    raise PeerFault(417, Reason.BAD_EXPECTATION, "the only known expectation is 100-continue")
                head.expect_continue = True
        self._judge_host(head, host)
        if connection and connection != [b"keep-alive"]:
            options = list_items(connection)
            head.keep_alive = b"close" not in options and (head.keep_alive or b"keep-alive" in options)
        elif connection:
            head.keep_alive = True
        if codings:
            _judge_codings(head, codings, lengths)
        elif lengths:
            head.content_length = _length(lengths)

    def _judge_host(self, head: Head, host: bytes | None) -> None:
        """RFC 9112, 3.2: exactly one Host in HTTP/1.1, and a valid one wherever it stands."""
        if host is None:
            if head.version != b"HTTP/1.0":
                raise PeerFault(400, Reason.BAD_HOST, "the Host field is missing")
        elif host != self._host:
            if HOST.fullmatch(host) is None:
                raise PeerFault(400, Reason.BAD_HOST, "the Host field is not a host and port")
            self._host = host
        target = head.target
        if target[0] == _SLASH:  # origin-form
            head.authority = host
        else:
            _other_target(head, target, host)


def _judge_prefix(data: bytes, start: int, begin: int, limits: Limits) -> None:
    """Refuse an incomplete head for what no continuation could mend."""
    window = data[begin : start + limits.max_head_bytes]
    overflow = len(data) - start > limits.max_head_bytes or begin - start >= limits.max_head_bytes
    if window and window[0] not in _TCHARS and not (window == b"\r" and not overflow):
        raise PeerFault(400, Reason.BAD_REQUEST_LINE, "a request does not begin like this")
    line_end = window.find(b"\n")
    if line_end < 0:
        if overflow and b" " in window:
            raise LimitFault(414, Reason.TARGET_BYTES, "the request line does not end within the bound")
        if overflow:
            raise PeerFault(400, Reason.BAD_REQUEST_LINE, "no method ends within the bound")
        return
    if window[line_end - 1] != 0x0D:
        raise PeerFault(400, Reason.BAD_REQUEST_LINE, "lines end in CR LF")
    _request_line(window[: line_end - 1], limits)
    if window.count(b"\n") != window.count(b"\r\n"):
        raise PeerFault(400, Reason.BAD_HEADER, "lines end in CR LF")
    if overflow:
        raise LimitFault(431, Reason.HEAD_BYTES, f"the head is longer than {limits.max_head_bytes} bytes")


def _request_line(line: bytes, limits: Limits) -> tuple[bytes, bytes, bytes]:
    """RFC 9112, 3: method SP request-target SP HTTP-version, and not a blank more."""
    try:
        method, target, version = line.split(b" ")
    except ValueError:
        _judge_line_end(line)
        if len(line) > limits.max_target_bytes and b" " in line and line[0] in _TCHARS:
            raise LimitFault(414, Reason.TARGET_BYTES, "the request line is too long") from None
        raise PeerFault(400, Reason.BAD_REQUEST_LINE, "a request line is METHOD SP TARGET SP VERSION") from None
    if method not in METHODS:
        _other_method(line, method, target)
    if len(target) > limits.max_target_bytes:
        _judge_line_end(line)
        raise LimitFault(414, Reason.TARGET_BYTES, f"the target is longer than {limits.max_target_bytes} bytes")
    if TARGET.fullmatch(target) is None:
        _judge_line_end(line)
        raise PeerFault(400, Reason.BAD_TARGET, "the target holds bytes that must be percent-encoded")
    if version != b"HTTP/1.1" and version != b"HTTP/1.0":
        version = _other_version(version)
    return method, target, version


def _other_method(line: bytes, method: bytes, target: bytes) -> None:
    if TOKEN.fullmatch(method) is None:
        raise PeerFault(400, Reason.BAD_REQUEST_LINE, "the method is not a token")
    if method == b"CONNECT" and AUTHORITY.fullmatch(target) is None:  # RFC 9112, 3.2.3
        _judge_line_end(line)
        raise PeerFault(400, Reason.BAD_TARGET, "the target of CONNECT is a host and a port")


def _judge_line_end(line: bytes) -> None:
    """A bare LF in a line that failed is its first fault: who is sent the line in pieces meets it first."""
    if b"\n" in line:
        raise PeerFault(400, Reason.BAD_REQUEST_LINE, "lines end in CR LF")


def _other_version(version: bytes) -> bytes:
    match = VERSION.fullmatch(version)
    if match is None:
        raise PeerFault(400, Reason.BAD_REQUEST_LINE, "the version is not HTTP/digit.digit")
    if match[1] != b"1":
        raise OurFault(505, Reason.BAD_VERSION, "this server speaks HTTP/1.0 and HTTP/1.1")
    # RFC 9110, 2.5: a higher minor version is answered as the highest one spoken.
    return b"HTTP/1.1"


def _other_target(head: Head, target: bytes, host: bytes | None) -> None:
    """The three forms of a target that do not begin with a slash (RFC 9112, 3.2.2 to 3.2.4)."""
    if head.method == b"CONNECT":
        raise OurFault(501, Reason.CONNECT, "this server is no proxy")
    if target == b"*":
        if head.method != b"OPTIONS":
            raise PeerFault(400, Reason.BAD_TARGET, "the target * is for OPTIONS alone")
        head.authority = host
        return
    scheme, separator, rest = target.partition(b"://")
    if not separator or scheme.lower() not in (b"http", b"https"):
        raise PeerFault(400, Reason.BAD_TARGET, "the target is neither a path nor an http URI")
    cut = min(i for i in (rest.find(b"/"), rest.find(b"?"), len(rest)) if i >= 0)
    authority = rest[:cut]
    if not authority or HOST.fullmatch(authority) is None:  # RFC 9110, 4.2.1 and 4.2.4: no empty host, no user
        raise PeerFault(400, Reason.BAD_TARGET, "the target's authority is not a host and port")
    # RFC 9112, 3.2.2: what Host says is ignored then.
    head.authority = authority
    path = rest[cut:]
    if path[:1] != b"/":
        path = b"/" + path
    head.target = b"*" if head.method == b"OPTIONS" and not rest[cut:] else path


def _judge_codings(head: Head, codings: list[bytes], lengths: list[bytes]) -> None:
    """RFC 9112, 6.1 and 6.3: only ``chunked``, only in HTTP/1.1, never beside Content-Length."""
    if lengths:
        raise PeerFault(400, Reason.BAD_FRAMING, "Transfer-Encoding and Content-Length together")
    if head.version == b"HTTP/1.0":
        raise PeerFault(400, Reason.BAD_FRAMING, "Transfer-Encoding in HTTP/1.0")
    items = list_items(codings)
    if items != [b"chunked"]:
        if not items or items[-1] != b"chunked" or items.count(b"chunked") > 1:
            raise PeerFault(400, Reason.BAD_FRAMING, "chunked must be the one and last transfer coding")
        raise OurFault(501, Reason.UNKNOWN_CODING, "the only transfer coding spoken here is chunked")
    head.chunked = True


def _length(lengths: list[bytes]) -> int:
    """RFC 9110, 8.6: 1*DIGIT, once."""
    if len(lengths) > 1 or not lengths[0].isdigit():
        raise PeerFault(400, Reason.BAD_FRAMING, "Content-Length is not one decimal number")
    return length_of(lengths[0])
