"""A request's head as HTTP/2 brings it: from fields to the same ``Head`` that HTTP/1.1's bytes make.

Two kinds of wrong are told apart. A message that is malformed (RFC 9113, 8.1.1) costs its stream:
``StreamFault``. One that is well-formed, but not for us, is answered as it would be over HTTP/1.1: ``Fault``.

What most clients say again and again is judged once: a head whose fields are those of the connection's head
before it is made from that one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, Protocol

from hardhttp.errors import LimitFault, OurFault, PeerFault, Reason
from hardhttp.limits import Limits
from hardhttp.wire.body import length_of
from hardhttp.wire.fieldblock import CONNECTION_SPECIFIC
from hardhttp.wire.grammar import HOST, TARGET, TOKEN
from hardhttp.wire.head import METHODS, Head
from hardhttp.wire.http2 import ErrorCodes, StreamFault

__all__ = ["VERSION", "StreamHead", "judge_characters", "judge_size", "request_head", "trailers"]

# As access logs name it.
VERSION: Final = b"HTTP/2.0"

_DECIDING = CONNECTION_SPECIFIC | {b"host", b"content-length", b"expect", b"te", b"cookie", b"priority"}

# RFC 3986, 3.1; nearly all are of the two.
_SCHEMES = frozenset({b"http", b"https"})
_SCHEME = re.compile(rb"[A-Za-z][A-Za-z0-9+.\-]*")
# 8.2.1: names are tokens in lower case; values neither begin nor end with white space, and hold no control
# character but HTAB (RFC 9110, 5.5). Several at once, for one look is faster than many.
_NAME = rb"[!#$%&'*+\-.^_`|~0-9a-z]+"
_NAMES = re.compile(_NAME + rb"(?: " + _NAME + rb")*")
_VISIBLE = rb"[!-~\x80-\xff]"
_VALUE = rb"(?:" + _VISIBLE + rb"(?:[\t -~\x80-\xff]*" + _VISIBLE + rb")?)?"
_VALUES = re.compile(_VALUE + rb"(?:\n" + _VALUE + rb")*")

Fields = Sequence[tuple[bytes, bytes]]


class StreamHead(Head):
    """One request's head; see ``Head``. ``lines`` are made when something asks for them."""

    __slots__ = ("_asked", "_given", "_lines", "priority")

    is_extended_connect = False

    def __init__(self, method: bytes, target: bytes, asked: bytes | None, given: Fields) -> None:
        self.method = method
        self.target = target
        self.version = VERSION
        self.line = b""  # there is none
        self.authority = asked
        self.content_length = None
        self.chunked = self.expect_continue = self.upgrade = self.repeatable = False
        self.keep_alive = True
        self.memo = None
        self.priority: bytes | None = None  # RFC 9218, 5
        self._asked = asked  # :authority
        self._given = given  # the fields as they came
        self._fields: list[tuple[bytes, bytes]] = []
        self._lines: list[bytes] = []  # one, once it is made; shared with the heads made from this one

    @property
    def lines(self) -> bytes:  # type: ignore[override]
        """The fields as HTTP/1.1 would have them, from the CRLF before the first to the blank line."""
        if not self._lines:
            self._lines.append(b"\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % field for field in self._fields]))
        return self._lines[0]

    def again(self, method: bytes, target: bytes) -> StreamHead:
        head = StreamHead(method, target, self._asked, self._given)
        head.authority = self.authority
        head.repeatable = True
        head.memo = self.memo
        head.priority = self.priority
        head._fields, head._lines = self._fields, self._lines
        return head

    def says_the_same(self, asked: bytes | None, given: Fields) -> bool:
        return self.repeatable and asked == self._asked and given == self._given


class ConnectHead(StreamHead):
    """The head of an extended CONNECT that opens a WebSocket (RFC 8441, 5).

    That handshake is what a GET is over HTTP/1.1, and so it is one to routers, wrappers and logs.
    """

    __slots__ = ()

    is_extended_connect = True


class HeadLimits(Protocol):
    """What bounds a head: the server's limits, or a client's."""

    @property
    def max_head_bytes(self) -> int: ...

    @property
    def max_headers(self) -> int: ...


def request_head(fields: Fields, ended: bool, limits: Limits, previous: StreamHead | None = None) -> StreamHead:
    """The head that ``fields`` make; ``ended``: no body follows.

    Raises ``StreamFault``, or ``Fault`` with 400, 413, 414, 417, 431 or 501.
    """
    method, target, asked, count = _pseudo_fields(fields)
    given = fields[count:]
    if method == b"CONNECT":
        return _connect_head(target, asked, given, ended, limits)
    if method not in METHODS and TOKEN.fullmatch(method) is None:
        raise StreamFault(ErrorCodes.PROTOCOL_ERROR, "the method is not a token")
    _judge_target(method, target, limits)
    if previous is not None and ended and previous.says_the_same(asked, given):
        return previous.again(method, target)
    judge_characters(given)
    judge_size(given, limits)
    head = StreamHead(method, target, asked, given)
    _decide(head, given, ended)
    return head


def _connect_head(target: bytes, asked: bytes | None, given: Fields, ended: bool, limits: Limits) -> ConnectHead:
    """RFC 8441, 4 and 5."""
    _judge_target(b"GET", target, limits)
    judge_characters(given)
    judge_size(given, limits)
    if ended or any(name == b"content-length" for name, _ in given):
        raise _malformed("a WebSocket's stream has no end and no length when it begins")
    head = ConnectHead(b"GET", target, asked, given)
    _decide(head, given, True)
    return head


def trailers(fields: Fields, limits: Limits) -> list[tuple[bytes, bytes]]:
    """A trailer section (RFC 9113, 8.1). Raises ``StreamFault`` or ``Fault``."""
    judge_characters(fields)
    judge_size(fields, limits)
    return [(name, value) for name, value in fields]


def _malformed(detail: str) -> StreamFault:
    return StreamFault(ErrorCodes.PROTOCOL_ERROR, detail)


def _pseudo_fields(fields: Fields) -> tuple[bytes, bytes, bytes | None, int]:
    """Method, target, authority, and how many fields said so (RFC 9113, 8.3.1)."""
    method = target = scheme = asked = protocol = None
    count = 0
    for name, value in fields:
        if name[:1] != b":":
            break
        count += 1
        if name == b":method" and method is None:
            method = value
        elif name == b":path" and target is None:
            target = value
        elif name == b":scheme" and scheme is None:
            scheme = value
        elif name == b":authority" and asked is None:
            asked = value
        elif name == b":protocol" and protocol is None:
            protocol = value
        else:
            raise _malformed("a pseudo-header field that is unknown, or there twice")
    if method == b"CONNECT" and protocol is None:
        raise OurFault(501, Reason.CONNECT, "this server is no proxy")
    if protocol is not None and (protocol != b"websocket" or method != b"CONNECT"):
        raise _not_spoken(method)
    if method is None or not target or not scheme:
        raise _malformed("a request has :method, :scheme and :path, and none is empty")
    if scheme not in _SCHEMES and _SCHEME.fullmatch(scheme) is None:
        raise _malformed(":scheme is none")
    return method, target, asked, count


def _not_spoken(method: bytes | None) -> StreamFault | OurFault:
    """RFC 8441, 4: ``:protocol`` is for CONNECT; which one is for us to say (RFC 9220, 3)."""
    if method != b"CONNECT":
        return _malformed("only a CONNECT is for a :protocol")
    return OurFault(501, Reason.CONNECT, "the only protocol that is tunnelled is websocket")


def _judge_target(method: bytes, target: bytes, limits: Limits) -> None:
    """RFC 9113, 8.3.1: a path, or ``*`` for OPTIONS."""
    if len(target) > limits.max_target_bytes:
        raise LimitFault(414, Reason.TARGET_BYTES, f"the target is longer than {limits.max_target_bytes} bytes")
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        raise PeerFault(400, Reason.BAD_TARGET, "the target is not a path")
    if TARGET.fullmatch(target) is None:
        raise PeerFault(400, Reason.BAD_TARGET, "the target holds bytes that must be percent-encoded")


def judge_characters(fields: Fields) -> None:
    """RFC 9113, 8.2.1. A pseudo-header field behind others is refused here too: no name begins with a colon."""
    if not fields:
        return
    names = b" ".join([name for name, _ in fields])
    values = b"\n".join([value for _, value in fields])
    separators = len(fields) - 1
    if names.count(b" ") != separators or _NAMES.fullmatch(names) is None:
        raise _malformed("a field's name is not a token in lower case")
    if values.count(b"\n") != separators or _VALUES.fullmatch(values) is None:
        raise _malformed("a field's value holds what it must not")


def judge_size(fields: Fields, limits: HeadLimits) -> None:
    """The bounds of a head, counted as HTTP/1.1 would have it."""
    if len(fields) > limits.max_headers:
        raise LimitFault(431, Reason.HEADERS, f"more than {limits.max_headers} header fields")
    if sum([len(name) + len(value) + 4 for name, value in fields]) > limits.max_head_bytes:
        raise LimitFault(431, Reason.HEAD_BYTES, f"the head is longer than {limits.max_head_bytes} bytes")


def _decide(head: StreamHead, given: Fields, ended: bool) -> None:
    """Judge the fields that frame the message and say whom it is for."""
    host: bytes | None = None
    lengths: list[bytes] = []
    crumbs: list[bytes] = []
    kept: list[tuple[bytes, bytes]] = []
    for name, value in given:
        if name in _DECIDING:
            if name == b"cookie":
                crumbs.append(value)
                continue
            if name == b"host":
                if host is not None:
                    raise PeerFault(400, Reason.BAD_HOST, "more than one Host field")
                host = value
                continue
            if name == b"content-length":
                lengths.append(value)
            elif name == b"priority":
                head.priority = value if head.priority is None else head.priority + b"," + value
            elif name == b"te":
                if value.lower() != b"trailers":
                    raise _malformed("TE may only be trailers")
            elif name == b"expect":
                if value.lower() != b"100-continue":
                    raise PeerFault(417, Reason.BAD_EXPECTATION, "the only known expectation is 100-continue")
                head.expect_continue = not ended
            else:
                raise _malformed("a field that is for one connection alone")
        kept.append((name, value))
    _judge_host(head, host)
    if crumbs:
        kept.append((b"cookie", b"; ".join(crumbs)))  # 8.2.3
    if head.authority is not None:
        kept.insert(0, (b"host", head.authority))
    head._fields = kept
    _frame_body(head, lengths, ended)
    head.repeatable = ended and not lengths


def _judge_host(head: StreamHead, host: bytes | None) -> None:
    """RFC 9113, 8.3.1: ``:authority`` is what Host is elsewhere; both together must say the same."""
    asked = head.authority
    if asked is None:
        asked = head.authority = host
    elif host is not None and host.lower() != asked.lower():
        raise PeerFault(400, Reason.BAD_HOST, "Host and :authority differ")
    if not asked:
        raise PeerFault(400, Reason.BAD_HOST, "the Host field is missing")
    if HOST.fullmatch(asked) is None:
        raise PeerFault(400, Reason.BAD_HOST, "the authority is not a host and port")


def _frame_body(head: StreamHead, lengths: Sequence[bytes], ended: bool) -> None:
    """RFC 9113, 8.1.1. That the body is as long as this says is h2's to see."""
    if len(lengths) > 1 or any(not length.isdigit() for length in lengths):
        raise _malformed("Content-Length is not one decimal number")
    for length in lengths:
        if ended and length.strip(b"0"):
            raise _malformed("a body was announced and there is none")
        head.content_length = length_of(length)
    head.chunked = not ended and head.content_length is None
