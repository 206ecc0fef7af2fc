"""Responses as their receiver reads them, strictly."""

from __future__ import annotations

import re
from collections.abc import Sequence

import attrs

__all__ = ["Response", "parse_responses"]

_FIELD = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+: [\t -~\x80-\xff]*\r\n"
_HEAD = re.compile(rb"HTTP/1\.1 ([1-9][0-9]{2}) ([\t -~]*)\r\n((?:" + _FIELD + rb")*)\r\n")
_CHUNK = re.compile(rb"([1-9a-f][0-9a-f]*)\r\n")


@attrs.frozen
class Response:
    """One response; ``headers`` are (lower-case name, value) in order.

    ``complete`` is false for a body that ended before its framing said so.
    """

    status: int
    phrase: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""
    complete: bool = True

    def get(self, name: bytes) -> bytes | None:
        """The value of the field ``name``; several are joined by ``", "``."""
        values = [value for key, value in self.headers if key == name.lower()]
        return b", ".join(values) if values else None

    @property
    def reason(self) -> str | None:
        """The reason code of a refusal."""
        value = self.get(b"x-refused")
        return None if value is None else value.decode("ascii")


def parse_responses(data: bytes, methods: Sequence[bytes] = (), *, closed: bool = True) -> tuple[list[Response], bytes]:
    """The responses in ``data``, and what is left of it.

    Raises ``ValueError`` for bytes that no HTTP/1.1 server may send. ``methods`` are those of the
    requests in their order (GET where there are none left); ``closed`` says whether ``data`` is all
    there will be, which ends a body without framing. A response that may go on is left.
    """
    responses: list[Response] = []
    asked = iter(methods)
    while data:
        match = _HEAD.match(data)
        if match is None:
            if closed or b"\r\n\r\n" in data:
                raise ValueError(f"not a response: {data[:200]!r}")
            break
        lines = [line.partition(b":") for line in match[3].split(b"\r\n")[:-1]]
        response = Response(int(match[1]), match[2], tuple((name.lower(), value.strip()) for name, _, value in lines))
        method = b"GET" if response.status < 200 else next(asked, b"GET")
        framed = _body(response, method, data[match.end() :])
        if framed is None:
            if not closed:
                break
            unframed = response.get(b"content-length") is None and response.get(b"transfer-encoding") is None
            framed = data[match.end() :], b"", unframed
        body, data, complete = framed
        responses.append(attrs.evolve(response, body=body, complete=complete))
    return responses, data


def _body(response: Response, method: bytes, data: bytes) -> tuple[bytes, bytes, bool] | None:
    """The body at the start of ``data``, what is behind it, and whether it is whole; ``None`` for not yet.

    RFC 9112, 6.3.
    """
    length, coding = response.get(b"content-length"), response.get(b"transfer-encoding")
    if length is not None and (coding is not None or not length.isdigit()):
        raise ValueError(f"two framings, or none: {length!r}, {coding!r}")
    if method == b"HEAD" or response.status in (204, 304) or response.status < 200:
        return b"", data, True
    if length is not None:
        size = int(length)
        return None if len(data) < size else (data[:size], data[size:], True)
    if coding is None:
        return None
    if coding != b"chunked":
        raise ValueError(f"an unknown coding: {coding!r}")
    pieces = []
    while not data.startswith(b"0\r\n\r\n"):
        match = _CHUNK.match(data)
        if match is None or len(data) < match.end() + int(match[1], 16) + 2:
            return None
        end = match.end() + int(match[1], 16)
        if data[end : end + 2] != b"\r\n":
            raise ValueError("a chunk is not as long as it says")
        pieces.append(data[match.end() : end])
        data = data[end + 2 :]
    return b"".join(pieces), data[5:], True
