r"""What an access log says of a request, as one line: ``combined``, or ``json``.

The way of a request only makes an *entry*, a plain tuple of what is at hand; what costs time (cutting
Referer and User-Agent from the head, escaping, dates) waits until entries are written together.

A line is a line whatever a peer sent. In ``combined`` every byte outside printable ASCII, every quote and
every backslash is ``\xNN``; in ``json`` texts are JSON strings of ASCII in which each character stands for
one byte of the peer's. Authorization and cookies are never asked for, and the values of query parameters
named in ``SECRET_PARAMETERS`` are written as ``***``, in the target and in the Referer.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote_to_bytes

from hardhttp.errors import Reason
from hardhttp.web.clientinfo import peer_text
from hardhttp.wire.head import Head

__all__ = ["FORMATS", "SECRET_PARAMETERS", "Entry", "Lines", "entry", "masked", "refused_entry"]

FORMATS = ("combined", "json")

# Seconds since the epoch, the client's address, the peer's where it is another, the head where there was one,
# status, bytes of body, seconds, id, reason, and whether the client spoke TLS, where that is known.
Entry = tuple[float, str, str | None, Head | None, int, int, float, str | None, Reason | None, bool | None]

SECRET_PARAMETERS = frozenset(
    {
        b"access_token",
        b"api_key",
        b"apikey",
        b"auth",
        b"auth_token",
        b"authorization",
        b"client_secret",
        b"code",
        b"credential",
        b"csrf",
        b"csrf_token",
        b"id_token",
        b"jwt",
        b"oauth_token",
        b"otp",
        b"passphrase",
        b"passwd",
        b"password",
        b"pwd",
        b"refresh_token",
        b"secret",
        b"session",
        b"session_id",
        b"session_token",
        b"sessionid",
        b"sid",
        b"sig",
        b"signature",
        b"token",
        b"x-amz-security-token",
        b"x-amz-signature",
    }
)
# Whether a query may name one of them at all.
_SUSPECT = re.compile(rb"(?i)%|key|auth|secret|code|token|jwt|pass|pwd|otp|csrf|cred|session|sid|sig")
_PARAMETER = re.compile(rb"([^?&;#=]*)=([^?&;#]+)")
_USERINFO = re.compile(rb"^([^/?]*//)[^/?]*@")
_NAME_PARTS = re.compile(rb"[\[\].]+")

_UNSAFE = re.compile(rb'[^\x20-\x7e]|["\\]')
_UNSAFE_BYTES = bytes(byte for byte in range(256) if not 0x20 <= byte <= 0x7E or byte in b'"\\')
_TOLD = re.compile(rb"\n(?i:(r)eferer|user-agent):[ \t]*([^\r\n]*)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def entry(now: float, request: Any, status: int, reason: Reason | None = None) -> Entry:
    """What is to be said of ``request``, whose connection is still there."""
    channel = request.channel
    server = channel.server
    said = vars(request).get("request_id")
    if server.trusts_any:
        info = request.client_info
        address, seen = info.address, info.seen if info.seen != info.address else None
        said, secure = said or info.request_id, info.scheme == "https"
    else:
        address, seen, secure = peer_text(request.client), None, channel.isSecure()
    seconds = request.elapsed_seconds
    return now, address, seen, request.head, status, request.sentLength, seconds, said, reason, secure


def refused_entry(now: float, address: str, head: Head | None, status: int, reason: Reason, said: str | None) -> Entry:
    """The same for what never became a request."""
    return now, address, None, head, status, 0, 0.0, said, reason, None


def masked(text: bytes) -> bytes:
    """``text``, a target or a URL, without the values of ``SECRET_PARAMETERS``."""
    path, mark, query = text.partition(b"?")
    if not mark or _SUSPECT.search(query) is None:
        return text
    return path + mark + _PARAMETER.sub(_mask, query)


def _without_user(url: bytes) -> bytes:
    """A Referer as RFC 9110, 10.1.3 would have it: with neither userinfo nor fragment."""
    return _USERINFO.sub(rb"\1", url.partition(b"#")[0]) if 0x40 in url or 0x23 in url else url


def _mask(found: re.Match[bytes]) -> bytes:
    name = unquote_to_bytes(found[1]).strip(b" +").lower()  # some leave blanks around a name off
    # "user[password]" and "user.password" are forms' ways to say password.
    if name in SECRET_PARAMETERS or not SECRET_PARAMETERS.isdisjoint(_NAME_PARTS.split(name)):
        return found[1] + b"=***"
    return found[0]


def _hex(found: re.Match[bytes]) -> bytes:
    return b"\\x%02x" % found[0][0]


def _quoted(raw: bytes) -> bytes:
    """``raw`` as a quoted field of ``combined`` may hold it; ``-`` for nothing."""
    if len(raw.translate(None, _UNSAFE_BYTES)) != len(raw):
        return _UNSAFE.sub(_hex, raw)
    return raw or b"-"


def _string(raw: bytes) -> bytes:
    """``raw`` as a JSON string."""
    if len(raw.translate(None, _UNSAFE_BYTES)) != len(raw):
        return json.dumps(raw.decode("latin-1")).encode("ascii")
    return b'"%s"' % raw


def _text(raw: str | None) -> bytes:
    return b"" if raw is None else raw.encode("utf-8", "backslashreplace")


class Lines:
    """Makes lines of entries, in the format named (one of ``FORMATS``).

    It keeps the last second's date, and what it cut from heads while one batch is written: most clients
    send the same fields again and again.
    """

    def __init__(self, form: str) -> None:
        self._line: Callable[[Entry], bytes] = self._combined if form == "combined" else self._json
        self._escape = _quoted if form == "combined" else _string
        self._second, self._date = -1, b""
        self._told: dict[bytes, tuple[bytes, bytes]] = {}

    def batch(self, entries: list[Entry]) -> bytes:
        """The lines of ``entries``, each with its end of line."""
        try:
            return b"".join(map(self._line, entries))
        finally:
            self._told.clear()

    def _told_by(self, head: Head) -> tuple[bytes, bytes]:
        """Referer and User-Agent, escaped."""
        told = self._told.get(head.lines)
        if told is None:
            referer = agent = b""
            for is_referer, value in _TOLD.findall(head.lines):
                if is_referer:
                    referer = masked(_without_user(value.rstrip(b" \t")))
                else:
                    agent = value.rstrip(b" \t")
            told = self._told[head.lines] = self._escape(referer), self._escape(agent)
        return told

    def _combined(self, item: Entry) -> bytes:
        now, address, _, head, status, size, seconds, said, reason, _ = item
        if head is None:
            asked, referer, agent = b"-", b"-", b"-"
        else:
            asked = b"%s %s %s" % (_quoted(head.method), _quoted(masked(head.target)), head.version)
            referer, agent = self._told_by(head)
        return b'%s - - [%s] "%s" %d %d "%s" "%s" %.6f %s %s\n' % (
            _quoted(_text(address)),
            self._date_of(now),
            asked,
            status,
            size,
            referer,
            agent,
            seconds,
            _quoted(_text(said)),
            b"-" if reason is None else reason.value.encode("ascii"),
        )

    def _json(self, item: Entry) -> bytes:
        now, address, seen, head, status, size, seconds, said, reason, secure = item
        if head is None:
            asked = b'"method":null,"target":null,"version":null'
            referer = agent = b""
        else:
            asked = b'"method":%s,"target":%s,"version":"%s"' % (
                _string(head.method),
                _string(masked(head.target)),
                head.version,
            )
            referer, agent = self._told_by(head)
        return (
            b'{"time":"%s.%03dZ","address":%s,%s%s,"status":%d,"bytes":%d,"seconds":%.6f,'
            b'"referer":%s,"agent":%s,"id":%s,"reason":%s,"tls":%s}\n'
        ) % (
            self._date_of(now),
            int(now % 1 * 1000),
            _string(_text(address)),
            b"" if seen is None else b'"seen":%s,' % _string(_text(seen)),
            asked,
            status,
            size,
            seconds,
            referer if len(referer) > 2 else b"null",
            agent if len(agent) > 2 else b"null",
            b"null" if said is None else _string(_text(said)),
            b"null" if reason is None else b'"%s"' % reason.value.encode("ascii"),
            b"null" if secure is None else b"true" if secure else b"false",
        )

    def _date_of(self, now: float) -> bytes:
        second = int(now)
        if second != self._second:
            self._second, at = second, time.gmtime(second)
            if self._escape is _quoted:
                # The month is ours: strftime's speaks the locale's language.
                date = time.strftime(f"%d/{_MONTHS[at.tm_mon - 1]}/%Y:%H:%M:%S +0000", at)
            else:
                date = time.strftime("%Y-%m-%dT%H:%M:%S", at)
            self._date = date.encode("ascii")
        return self._date
