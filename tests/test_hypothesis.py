"""Whatever comes, however split: nothing raises, nothing hangs past its deadline, and the verdict is one.

Four kinds of input: valid messages (what the application sees is what was sent), valid messages with one
mutation, heaps of pieces of messages, and bytes. Each is sent whole and in pieces over two connections;
then time passes, and both must be closed. ``Rig`` insists that nothing was logged as a failure.

``HYPOTHESIS_PROFILE=long`` tries five times as many, as ``tox -e slow`` does; ``random`` tries new ones.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import attrs
from hypothesis import given
from hypothesis import strategies as st
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import Fault
from hardhttp.limits import Limits
from hardhttp.testing import Response, Rig, every_split, parse_responses
from hardhttp.wire.body import ChunkedBody
from hardhttp.wire.head import HeadParser
from tests.origin import verdict

LIMITS = Limits(
    max_head_bytes=400,
    max_target_bytes=64,
    max_headers=6,
    max_body_bytes=100,
    spool_bytes=50,
    max_pipelined_bytes=200,
    head_seconds=2,
    body_seconds=3,
    max_body_seconds=5,
    idle_seconds=4,
    abort_seconds=1,
)
# Longer than all of these one after another.
ENOUGH_SECONDS = 20


class Mirror(Resource):
    """Says what it was asked, for any method: at once, in pieces, or in the next turn."""

    isLeaf = True

    def __init__(self, clock: Any = None) -> None:
        super().__init__()
        self.clock = clock
        self.seen: list[tuple[bytes, bytes, bytes]] = []

    def render(self, request: Any) -> Any:
        body = request.content.read()
        self.seen.append((request.method, request.uri, body))
        answer = b"%s %s %s" % (request.method, request.uri, body)
        if request.uri.startswith(b"/pieces"):
            for byte in answer:
                request.write(bytes([byte]))
            request.finish()
            return NOT_DONE_YET
        if request.uri.startswith(b"/later"):
            self.clock.callLater(0.5, lambda: (request.write(answer), request.finish()))
            return NOT_DONE_YET
        return answer


@attrs.frozen
class Outcome:
    responses: tuple[Response, ...]
    seen: tuple[tuple[bytes, bytes, bytes], ...]


def outcome(pieces: list[bytes]) -> Outcome:
    """What comes of ``pieces`` in the end; it ends."""
    mirror = Mirror()
    with Rig(mirror, limits=LIMITS) as rig:
        mirror.clock = rig.clock
        peer = rig.connect()
        peer.send(*pieces)
        rig.advance(ENOUGH_SECONDS)
        assert peer.closed
        responses, _ = parse_responses(peer.received, [method for method, *_ in mirror.seen])
        final = [attrs.evolve(verdict(r), headers=undated(verdict(r))) for r in responses if r.status >= 200]
        return Outcome(tuple(final), tuple(mirror.seen))


def undated(response: Response) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name, value) for name, value in response.headers if name != b"date")


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces."""
    at = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[i:j] for i, j in pairwise(at)] or [data]


# -- strategies ----------------------------------------------------------------------------------

TOKENS = st.text("abcXYZ-_19!~", min_size=1, max_size=5).map(str.encode)
VALUES = st.text('abc ,;="\t\x80\xff', max_size=8).map(lambda text: text.encode("latin-1"))
BODIES = st.binary(max_size=40)
PLACES = st.lists(st.integers(0, 1000), max_size=6)
TARGETS = st.sampled_from([b"/", b"/a?b=c", b"/%0d%0a", b"/pieces", b"/later", b"http://h/x", b"//"])
# HEAD is left out: whoever reads refusals must know which request they are for.
METHODS = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"PATCH", b"X-Y"])


@st.composite
def chunked(draw: Any) -> tuple[bytes, bytes]:
    """A chunked body, and what it says."""
    pieces = draw(st.lists(st.binary(min_size=1, max_size=12), max_size=4))
    extensions = st.sampled_from([b"", b"", b";a", b";a=b", b' ; a="b\\"c"'])
    sizes = st.sampled_from([b"%x", b"%X", b"0%x", b"000%x"])
    lines = [draw(sizes) % len(piece) + draw(extensions) + b"\r\n" + piece + b"\r\n" for piece in pieces]
    trailers = b"".join(b"%s:%s\r\n" % pair for pair in draw(st.lists(st.tuples(TOKENS, VALUES), max_size=2)))
    return b"".join(lines) + b"0" + draw(extensions) + b"\r\n" + trailers + b"\r\n", b"".join(pieces)


@st.composite
def message(draw: Any) -> tuple[bytes, tuple[bytes, bytes, bytes]]:
    """A valid request, and what an application should see of it."""
    method, target = draw(METHODS), draw(TARGETS)
    fields = [b"Host: h", *(b"x%s:%s" % pair for pair in draw(st.lists(st.tuples(TOKENS, VALUES), max_size=3)))]
    kind = draw(st.sampled_from(["none", "length", "chunked", "expect"]))
    raw = body = b""
    if kind == "chunked":
        raw, body = draw(chunked())
        fields.append(draw(st.sampled_from([b"Transfer-Encoding: chunked", b"transfer-encoding:\tCHUNKED,"])))
    elif kind != "none":
        raw = body = draw(BODIES)
        fields.append(b"Content-Length: %d" % len(body))
        if kind == "expect":
            fields.append(b"Expect: 100-continue")
    fields = draw(st.permutations(fields))
    head = b"%s %s HTTP/1.1\r\n%s\r\n\r\n" % (method, target, b"\r\n".join(fields))
    return head + raw, (method, b"/x" if target == b"http://h/x" else target, body)


PIPELINES = st.lists(message(), min_size=1, max_size=3)


@st.composite
def mutated(draw: Any) -> bytes:
    """A pipeline with one mutation."""
    data = b"".join(raw for raw, _ in draw(PIPELINES))
    place = draw(st.integers(0, len(data) - 1))
    end = min(len(data), place + draw(st.integers(1, 8)))
    new = draw(st.one_of(st.binary(min_size=1, max_size=3), st.sampled_from(PARTS)))
    kind = draw(st.sampled_from(["drop", "insert", "replace", "double", "cut", "bit", "end"]))
    if kind == "drop":
        return data[:place] + data[end:]
    if kind == "insert":
        return data[:place] + new + data[place:]
    if kind == "replace":
        return data[:place] + new + data[end:]
    if kind == "double":
        return data[:end] + data[place:]
    if kind == "bit":
        return data[:place] + bytes([data[place] ^ 1 << draw(st.integers(0, 7))]) + data[place + 1 :]
    if kind == "end":
        return data.replace(b"\r\n", draw(st.sampled_from([b"\n", b"\r", b"\r\r\n", b"\n\r", b" \r\n"])), 1)
    return data[:place]


PARTS = [
    b"GET ",
    b"POST ",
    b"OPTIONS ",
    b"CONNECT ",
    b"/ ",
    b"* ",
    b"http://",
    b"HTTP/1.1\r\n",
    b"HTTP/1.0\r\n",
    b"HTTP/2.0\r\n",
    b"Host: h\r\n",
    b"Host:",
    b"Content-Length: 3\r\n",
    b"Content-Length:",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding:",
    b"chunked",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Connection: upgrade\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\r\n\r\n",
    b"\n",
    b"\r",
    b" ",
    b":",
    b";",
    b"\0",
    b"0\r\n\r\n",
    b"3\r\nabc\r\n",
    b"ffffffffffffffff\r\n",
    b"GET / HTTP/1.1\r\nHost: h\r\n\r\n",
    b"x" * 70,
    b"X: " + b"y" * 400,
]
HEAPS = st.lists(st.one_of(st.sampled_from(PARTS), st.binary(max_size=4)), max_size=14).map(b"".join)


# -- through the whole server ----------------------------------------------------------------------


@given(pipeline=PIPELINES, places=PLACES)
def test_valid_messages_are_understood(pipeline: list[Any], places: list[int]) -> None:
    data = b"".join(raw for raw, _ in pipeline)
    expected = tuple(seen for _, seen in pipeline)
    whole = outcome([data])
    assert whole.seen == expected
    assert [r.body for r in whole.responses[: len(expected)]] == [b"%s %s %s" % seen for seen in expected]
    assert outcome(cut(data, places)) == whole


@given(data=mutated(), places=PLACES)
def test_one_mutation(data: bytes, places: list[int]) -> None:
    assert outcome(cut(data, places)) == outcome([data])


@given(data=HEAPS, places=PLACES)
def test_heaps(data: bytes, places: list[int]) -> None:
    assert outcome(cut(data, places)) == outcome([data])


@given(data=st.binary(max_size=500), places=PLACES)
def test_bytes(data: bytes, places: list[int]) -> None:
    assert outcome(cut(data, places)) == outcome([data])


@given(start=mutated(), trickle=st.binary(min_size=1, max_size=3))
def test_a_trickle_holds_nobody_past_the_deadlines(start: bytes, trickle: bytes) -> None:
    """A byte a second, for ever: every phase ends all the same."""
    mirror = Mirror()
    with Rig(mirror, limits=LIMITS) as rig:
        mirror.clock = rig.clock
        peer = rig.connect()
        peer.send(start)
        for second in range(60):
            if peer.closed:
                break
            peer.send(trickle[second % len(trickle) :][:1])
            rig.advance(1)
        assert peer.closed
        rig.advance(1)  # what the application still had to say


# -- the decoders alone, at every split --------------------------------------------------------------


def read_head(pieces: list[bytes]) -> Any:
    parser, data = HeadParser(), b""
    for piece in pieces:
        data += piece
        try:
            found = parser.parse(data, 0, LIMITS)
        except Fault as fault:
            return fault.status, fault.reason
        if found is not None:
            return found[1], found[0].method, found[0].target, tuple(found[0].fields)
    return None


def read_chunks(pieces: list[bytes]) -> Any:
    decoder, payload, behind = ChunkedBody(LIMITS), [], b""
    for piece in pieces:
        if decoder.done:
            behind += piece
            continue
        try:
            payload += decoder.receive(piece)
        except Fault as fault:
            return fault.status, fault.reason
    return b"".join(payload), decoder.done, decoder.trailers, decoder.rest + behind


@given(data=st.one_of(mutated(), HEAPS))
def test_heads_at_every_split(data: bytes) -> None:
    assert len({repr(read_head(pieces)) for pieces in every_split(data)}) == 1


@given(parts=st.tuples(chunked(), st.binary(max_size=2), st.integers(0, 200), st.integers(0, 3)))
def test_chunks_at_every_split(parts: Any) -> None:
    (raw, _), new, place, dropped = parts
    place %= len(raw)
    data = raw[:place] + new + raw[place + dropped :]
    assert len({repr(read_chunks(pieces)) for pieces in every_split(data)}) == 1
