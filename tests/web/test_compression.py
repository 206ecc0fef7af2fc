"""Compressed responses: for whom, of what, and what their heads say."""

from __future__ import annotations

import zlib
from random import Random
from typing import Any

import brotli
import pytest
import zstandard
from twisted.internet.task import Clock
from twisted.web import server
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import GzipEncoderFactory

from hardhttp import EventStream
from hardhttp.testing import Peer, Response, Rig
from hardhttp.web.codings import AVAILABLE, LEVELS, coding
from hardhttp.web.compression import MAX_STREAMS, SLICE_BYTES, WHOLE_BYTES, Compressed
from tests.web.saying import Says, say

TEXT = b"A line that says much the same as the one before it.\n" * 100
CODINGS = ["br", "zstd", "gzip"]


def decoded(data: bytes, name: str) -> bytes:
    """What a client makes of as much of a body as has come."""
    if name == "gzip":
        return zlib.decompressobj(31).decompress(data)
    if name == "br":
        return bytes(brotli.Decompressor().process(data))
    return zstandard.ZstdDecompressor().decompressobj().decompress(data)


def text(request: Any) -> bytes:
    request.setHeader(b"Content-Type", b"text/plain")
    return TEXT


def ask(resource: Any, accept: bytes | None = b"gzip", method: bytes = b"GET", **headers: bytes) -> Response:
    if accept is not None:
        headers["Accept_Encoding"] = accept
    with Rig(resource) as rig:
        return rig.exchange(say(method, **headers), methods=[method])[0]


def header(response: Response, name: str) -> str | None:
    value = response.get(name.encode())
    return None if value is None else value.decode()


def coded(response: Response) -> str | None:
    return header(response, "content-encoding")


class Streams(Resource):
    """Answers in pieces: the first at once, the others when told."""

    isLeaf = True

    def __init__(self, kind: bytes = b"text/plain", length: int | None = None) -> None:
        super().__init__()
        self.kind, self.length = kind, length
        self.requests: list[Any] = []

    def render_GET(self, request: Any) -> Any:
        self.requests.append(request)
        request.setHeader(b"Content-Type", self.kind)
        if self.length is not None:
            request.setHeader(b"Content-Length", b"%d" % self.length)
        request.write(b"first ")
        return server.NOT_DONE_YET


# -- whole bodies -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CODINGS)
def test_a_whole_body(name: str) -> None:
    response = ask(Compressed(Says(text)), name.encode())
    assert coded(response) == name
    assert decoded(response.body, name) == TEXT
    assert len(response.body) < len(TEXT) // 4
    assert header(response, "content-length") == str(len(response.body))
    assert header(response, "vary") == "Accept-Encoding"
    assert header(response, "transfer-encoding") is None


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        (None, None),
        (b"", None),
        (b"identity", None),
        (b"deflate, compress", None),
        (b"gzip", "gzip"),
        (b"x-gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"gzip, deflate, br, zstd", "br"),
        (b"gzip, zstd", "zstd"),
        (b"gzip;q=1.0, br;q=0.5", "gzip"),
        (b"br;q=0, gzip", "gzip"),
        (b"gzip;q=0", None),
        (b"*", "br"),
        (b"*;q=0.5, br;q=0", "zstd"),
        (b"gzip;q=0.5, identity;q=0.9", None),
        (b"gzip;q=0, *;q=0", None),
        (b"identity;q=0", None),
        (b"identity;q=0, gzip;q=0.1", "gzip"),
        (b", ".join([b"x" * 20] * 20) + b", gzip", "gzip"),  # too long a field to be kept
        (b"gzip;q=nonsense", None),
    ],
)
def test_who_gets_what(accept: bytes | None, expected: str | None) -> None:
    response = ask(Compressed(Says(text)), accept)
    assert coded(response) == expected
    assert header(response, "vary") == "Accept-Encoding"  # also where nothing was compressed
    assert (decoded(response.body, expected) if expected else response.body) == TEXT


def test_our_order_can_be_chosen() -> None:
    assert coded(ask(Compressed(Says(text), codings=["gzip", "br"]), b"br, gzip, zstd")) == "gzip"
    assert coded(ask(Compressed(Says(text), codings=["gzip"]), b"br")) is None


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("text/plain", True),
        ("text/html; charset=utf-8", True),
        ("TEXT/CSS", True),
        ("application/json", True),
        ("application/vnd.api+json; v=1", True),
        ("application/javascript", True),
        ("image/svg+xml", True),
        ("application/xml", True),
        ("application/atom+xml", True),
        ("application/wasm", True),
        ("image/png", False),
        ("image/jpeg", False),
        ("video/mp4", False),
        ("application/zip", False),
        ("application/gzip", False),
        ("application/octet-stream", False),
        ("font/woff2", False),
        ("text/event-stream", False),
        ("application/jsonish", False),
        ("x/json", False),
        ("nonsense", False),
    ],
)
def test_types(kind: str, expected: bool) -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Content-Type", kind.encode())
        return TEXT

    response = ask(Compressed(Says(answer)))
    assert (coded(response) == "gzip") is expected
    assert (header(response, "vary") == "Accept-Encoding") is expected


def test_the_default_type_is_one() -> None:
    assert coded(ask(Compressed(Says(lambda request: TEXT)))) == "gzip"  # text/html


def test_types_of_ones_own() -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Content-Type", request.getHeader(b"x-kind"))
        return TEXT

    own = Compressed(Says(answer), types=["Model/*", "text/event-stream", "a/b"])
    for kind in (b"model/obj", b"text/event-stream", b"a/b"):
        assert coded(ask(own, X_Kind=kind)) == "gzip"
    assert coded(ask(own, X_Kind=b"text/plain")) is None


def test_the_types_kept_have_a_bound() -> None:
    compressed = Compressed(
        Says(lambda request: request.setHeader(b"Content-Type", request.getHeader(b"x-kind")) or TEXT)
    )
    with Rig(compressed) as rig:
        for n in range(200):
            (response,) = rig.exchange(say(Accept_Encoding=b"gzip;q=0.%d" % n, X_Kind=b"text/a%d" % n))
            assert coded(response) == ("gzip" if n else None)
    assert len(compressed._kinds) == 64
    assert compressed._accepted.cache_info().currsize == 64


def test_long_fields_are_not_kept() -> None:
    compressed = Compressed(Says(text))
    for length, kept in ((129, 0), (128, 1)):
        assert coded(ask(compressed, b"gzip, ".ljust(length, b"x"))) == "gzip"
        assert compressed._accepted.cache_info().currsize == kept


def test_short_bodies_are_left_alone() -> None:
    at, below = b"a" * 1024, b"a" * 1023
    assert coded(ask(Compressed(Says(lambda request: at)))) == "gzip"
    response = ask(Compressed(Says(lambda request: below)))
    assert (coded(response), response.body) == (None, below)
    assert coded(ask(Compressed(Says(lambda request: b"ab" * 20), min_bytes=40))) == "gzip"
    assert coded(ask(Compressed(Says(lambda request: b"a" * 39), min_bytes=40))) is None
    # Whoever refuses a body as it is gets a coded one, however short.
    response = ask(Compressed(Says(lambda request: b"short")), b"gzip, identity;q=0")
    assert (coded(response), decoded(response.body, "gzip")) == ("gzip", b"short")


def test_what_does_not_shrink_is_sent_as_it_is() -> None:
    noise = Random(1).randbytes(5000)
    response = ask(Compressed(Says(lambda request: noise)))
    assert (coded(response), response.body) == (None, noise)
    assert header(response, "content-length") == "5000"
    response = ask(Compressed(Says(lambda request: noise)), b"gzip, identity;q=0")
    assert decoded(response.body, "gzip") == noise


@pytest.mark.parametrize(
    ("code", "headers"),
    [
        (206, {}),
        (206, {"Content-Range": "bytes 0-5299/9999"}),
        (200, {"Content-Range": "bytes 0-5299/9999"}),
        (200, {"Content-Encoding": "br"}),
        (200, {"Cache-Control": "public, no-transform"}),
        (200, {"Repr-Digest": "sha-256=:AAAA:"}),
        (200, {"Content-MD5": "AAAA"}),
    ],
)
def test_what_is_never_encoded(code: int, headers: dict[str, str]) -> None:
    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        for name, value in headers.items():
            request.setHeader(name, value)
        return TEXT

    response = ask(Compressed(Says(answer), secrets=True))
    assert response.body == TEXT
    assert coded(response) == headers.get("Content-Encoding")
    assert header(response, "vary") == "Accept-Encoding"  # as the answer without it would have (RFC 9110, 15.3.7)


@pytest.mark.parametrize("code", [204, 304])
def test_what_has_no_body(code: int) -> None:
    def answer(request: Any) -> bytes:
        request.setResponseCode(code)
        return b""

    response = ask(Compressed(Says(answer)))
    assert (response.status, coded(response), response.body) == (code, None, b"")


def test_errors_are_compressed_too() -> None:
    def answer(request: Any) -> bytes:
        raise RuntimeError("x" * 5000)

    with Rig(Compressed(Says(answer), min_bytes=100)) as rig:
        (response,) = rig.exchange(say(Accept_Encoding=b"gzip"))
        assert (response.status, coded(response)) == (500, "gzip")
        assert b"<h1>" in decoded(response.body, "gzip")
        assert len(rig.flush()) == 1


# -- the head ---------------------------------------------------------------------------------------


def test_vary_is_merged() -> None:
    def answer(request: Any) -> bytes:
        request.setHeader(b"Vary", request.getHeader(b"x-vary"))
        return TEXT

    for given, expected in (
        (b"Cookie", "Cookie, Accept-Encoding"),
        (b"accept-encoding", "accept-encoding"),
        (b"*", "*"),
    ):
        assert header(ask(Compressed(Says(answer)), X_Vary=given), "vary") == expected


@pytest.mark.parametrize("by_method", [True, False])
@pytest.mark.parametrize("tag", [b'"one"', b'W/"one"'])
def test_a_strong_tag_becomes_weak_and_still_gives_304(tag: bytes, by_method: bool) -> None:
    def answer(request: Any) -> bytes:
        if by_method or request.getHeader(b"if-none-match"):
            if request.setETag(tag):
                return b""
        else:
            request.setHeader(b"ETag", tag)
        request.setHeader(b"Accept-Ranges", b"bytes")
        return TEXT

    compressed = Compressed(Says(answer))
    first = ask(compressed)
    assert (coded(first), header(first, "etag")) == ("gzip", 'W/"one"')
    assert header(first, "accept-ranges") is None
    again = ask(compressed, If_None_Match=b'W/"one"')
    assert (again.status, header(again, "etag"), header(again, "vary")) == (304, 'W/"one"', "Accept-Encoding")
    plain = ask(compressed, None)
    assert header(plain, "etag") == tag.decode()
    assert header(plain, "accept-ranges") == "bytes"
    again = ask(compressed, None, If_None_Match=tag)
    assert (again.status, header(again, "etag")) == (304, tag.decode())


@pytest.mark.parametrize("size", [10, 5000, WHOLE_BYTES, WHOLE_BYTES + 1])
def test_head_is_get_without_its_body(size: int) -> None:
    compressed = Compressed(Says(lambda request: b"a" * size))
    get, head = ask(compressed), ask(compressed, method=b"HEAD")
    assert head.body == b""
    assert header(head, "content-length") == header(get, "content-length")
    assert coded(head) == coded(get) == ("gzip" if size > 1024 else None)
    assert header(head, "vary") == header(get, "vary")


def test_head_of_a_resource_that_answers_it_by_itself() -> None:
    def answer(request: Any) -> Any:
        request.setHeader(b"Content-Type", b"text/plain")
        request.setHeader(b"Content-Length", b"%d" % len(TEXT))
        request.setETag(b'"one"')
        if request.method == b"HEAD":
            return b""
        request.write(TEXT)
        request.finish()
        return server.NOT_DONE_YET

    resource = Says(answer)
    resource.render_HEAD = answer  # type: ignore[attr-defined]
    get, head = ask(Compressed(resource)), ask(Compressed(resource), method=b"HEAD")
    assert decoded(get.body, "gzip") == TEXT
    for name in ("content-encoding", "content-length", "etag", "vary", "content-type"):
        assert header(get, name) == header(head, name), name
    assert header(get, "content-length") is None


# -- secrets ----------------------------------------------------------------------------------------


def test_what_may_mix_secrets_is_left_alone() -> None:
    def nothing(request: Any) -> None:
        pass

    cookie = {"Cookie": b"id=1"}
    told = {"Authorization": b"Bearer x"}
    cases: list[tuple[bool, Any, dict[str, bytes]]] = [
        (True, nothing, {}),
        (True, nothing, cookie),  # nobody looked at it
        (False, lambda request: request.getCookie(b"id"), cookie),
        (True, lambda request: request.getCookie(b"id"), {}),
        (False, lambda request: request.getHeader(b"Cookie"), cookie),
        (False, lambda request: request.getHeader("cookie"), cookie),
        (False, lambda request: request.combined(b"cookie"), cookie),
        (True, lambda request: request.getHeader(b"cookie"), {}),
        (False, lambda request: request.requestHeaders, cookie),
        (True, lambda request: request.requestHeaders, {}),
        (False, nothing, told),
        (False, lambda request: request.addCookie(b"a", b"b"), {}),
        (False, lambda request: request.responseHeaders.addRawHeader(b"Set-Cookie", b"a=b"), {}),
        (False, lambda request: request.setHeader(b"Cache-Control", b"max-age=5, Private"), {}),
        (True, lambda request: request.setHeader(b"Cache-Control", b"no-store"), {}),
    ]
    for expected, look, headers in cases:

        def answer(request: Any, look: Any = look) -> bytes:
            look(request)
            return TEXT

        response = ask(Compressed(Says(answer)), **headers)
        assert (coded(response) is not None) is expected, (look, headers)
        assert header(response, "vary") == "Accept-Encoding"
        assert coded(ask(Compressed(Says(answer), secrets=True), **headers)) == "gzip"


def test_streams_that_may_mix_secrets_are_left_alone() -> None:
    with Rig(Compressed(streams := Streams())) as rig:
        peer = rig.connect()
        peer.send(say(Accept_Encoding=b"gzip", Authorization=b"Basic x"))
        streams.requests[0].finish()
        assert peer.responses()[0].body == b"first "


# -- streams ----------------------------------------------------------------------------------------


def so_far(peer: Peer) -> bytes:
    """The body of a chunked response that goes on."""
    head, _, rest = peer.received.partition(b"\r\n\r\n")
    assert b"Transfer-Encoding: chunked" in head
    body = b""
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        body, rest = body + rest[: int(size, 16)], rest[int(size, 16) + 2 :]
    return body


@pytest.mark.parametrize("name", CODINGS)
def test_each_write_of_a_stream_arrives_at_once(name: str) -> None:
    compressed = Compressed(streams := Streams())
    with Rig(compressed) as rig:
        peer = rig.connect()
        peer.send(say(Accept_Encoding=name.encode()))
        assert decoded(so_far(peer), name) == b"first "
        (request,) = streams.requests
        for n in range(1, 4):
            request.write(b"more ")
            assert decoded(so_far(peer), name) == b"first " + b"more " * n
        assert compressed.streams == 1
        request.finish()
        (response,) = peer.responses()
        assert decoded(response.body, name) == b"first more more more "
        assert (coded(response), header(response, "content-length")) == (name, None)
        assert compressed.streams == 0


def test_an_empty_write_sends_the_head_alone() -> None:
    with Rig(Compressed(Says(lambda request: request.write(b"") or server.NOT_DONE_YET))) as rig:
        peer = rig.connect()
        peer.send(say(Accept_Encoding=b"gzip"))
        assert peer.received.endswith(b"\r\n\r\n")
        assert b"Content-Encoding: gzip" in peer.received


def test_a_client_that_goes_away_closes_its_compressor() -> None:
    compressed = Compressed(Streams())
    with Rig(compressed) as rig:
        peer = rig.connect()
        peer.send(say(Accept_Encoding=b"gzip"))
        assert compressed.streams == 1
        peer.reset()
        assert compressed.streams == 0


def test_compressors_have_a_bound() -> None:
    compressed = Compressed(streams := Streams(), max_streams=2)
    with Rig(compressed) as rig:
        peers = [rig.connect() for _ in range(3)]
        for peer in peers:
            peer.send(say(Accept_Encoding=b"gzip"))
        assert (compressed.streams, compressed.declined) == (2, 1)
        for request in streams.requests:
            request.finish()
        assert [coded(peer.responses()[0]) for peer in peers] == ["gzip", "gzip", None]
        assert compressed.streams == 0
        peers[2].send(say(Accept_Encoding=b"gzip"))
        assert compressed.streams == 1
    assert Compressed(Streams())._max_streams == MAX_STREAMS


def test_a_short_length_is_left_alone_and_a_long_one_is_dropped() -> None:
    for length, expected in ((6, None), (1023, None), (1024, "gzip")):
        with Rig(Compressed(streams := Streams(length=length))) as rig:
            peer = rig.connect()
            peer.send(say(Accept_Encoding=b"gzip"))
            streams.requests[0].write(b"x" * (length - 6))
            streams.requests[0].finish()
            (response,) = peer.responses()
            assert coded(response) == expected
            body = decoded(response.body, "gzip") if expected else response.body
            assert body == b"first " + b"x" * (length - 6)


def test_http_10() -> None:
    with Rig(Compressed(streams := Streams())) as rig:
        peer = rig.connect()
        peer.send(b"GET / HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n")
        streams.requests[0].finish()
        head, _, body = peer.received.partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert decoded(body, "gzip") == b"first "
        assert peer.ended


def test_event_streams_say_no_transform() -> None:
    stream = EventStream(Clock(), heartbeat_seconds=None)
    with Rig(Compressed(stream, types=["text/event-stream"])) as rig:
        peer = rig.connect()
        peer.send(say(Accept_Encoding=b"gzip"))
        stream.publish("hello")
        assert b"data: hello\n\n" in peer.received
        assert b"Content-Encoding" not in peer.received


def test_chunks_made_for_many_are_coded_for_one() -> None:
    """``writeChunk`` takes the ordinary way."""
    with Rig(Compressed(streams := Streams())) as rig:
        peer = rig.connect()
        peer.send(say(Accept_Encoding=b"gzip"))
        streams.requests[0].writeChunk(b"second", b"6\r\nsecond\r\n")
        assert decoded(so_far(peer), "gzip") == b"first second"


# -- large bodies -------------------------------------------------------------------------------------

LARGE = TEXT * 200  # 1 MiB


@pytest.mark.parametrize("name", CODINGS)
def test_a_large_body_goes_in_slices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = Compressed(Says(lambda request: LARGE))
    pieces: list[int] = []
    with Rig(compressed) as rig:
        peer = rig.connect()
        encode = compressed._open

        def opened(request: Any, chosen: Any, flush: bool) -> Any:
            stream = encode(request, chosen, flush)
            inner = stream._encoder

            class Counts:
                finish = inner.finish

                def encode(self, data: bytes, flush: bool) -> bytes:
                    pieces.append(len(data))
                    return bytes(inner.encode(data, flush))

            stream._encoder = Counts()
            return stream

        monkeypatch.setattr(compressed, "_open", opened)
        peer.send(say(Accept_Encoding=name.encode()))
        (response,) = peer.responses()
        assert decoded(response.body, name) == LARGE
        assert max(pieces) == SLICE_BYTES
        assert sum(pieces) == len(LARGE)
        assert compressed.streams == 0
        peer.send(say())  # the connection goes on
        assert peer.responses()[1].body == LARGE


def test_at_the_bound_it_is_whole_and_one_past_it_is_not() -> None:
    at, past = (ask(Compressed(Says(lambda request, n=n: b"a" * n))) for n in (WHOLE_BYTES, WHOLE_BYTES + 1))
    assert header(at, "content-length") == str(len(at.body))
    assert header(past, "content-length") is None
    assert decoded(past.body, "gzip") == b"a" * (WHOLE_BYTES + 1)


def test_slices_wait_for_the_client() -> None:
    noise = Random(1).randbytes(4 << 20)
    compressed = Compressed(Says(lambda request: noise), codings=["gzip"], levels={"gzip": 1})
    with Rig(compressed) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(say(Accept_Encoding=b"gzip"))
        rig.advance(2)
        assert rig.site.ledger.snapshot()["unsent_bytes"] < 4 * SLICE_BYTES
        assert compressed.streams == 1
        peer.take(None)
        rig.advance(1)
        assert decoded(peer.responses()[0].body, "gzip") == noise


def test_a_client_that_goes_away_amid_slices() -> None:
    compressed = Compressed(Says(lambda request: Random(1).randbytes(1 << 20)))
    with Rig(compressed) as rig:
        peer = rig.connect()
        peer.take(0)
        peer.send(say(Accept_Encoding=b"gzip"))
        assert compressed.streams == 1
        peer.reset()
        peer.transport.abortConnection()
        assert peer.closed
        assert compressed.streams == 0


def test_a_large_body_past_the_bound_of_compressors_goes_as_it_is() -> None:
    response = ask(Compressed(Says(lambda request: LARGE), max_streams=0))
    assert (coded(response), response.body) == (None, LARGE)
    assert header(response, "content-length") == str(len(LARGE))


# -- with others ----------------------------------------------------------------------------------------


def test_twisteds_own_encoder_goes_on_working() -> None:
    response = ask(Compressed(EncodingResourceWrapper(Says(text), [GzipEncoderFactory()])), b"br, gzip")
    assert coded(response) == "gzip"
    assert decoded(response.body, "gzip") == TEXT


def test_an_encoder_on_the_very_path_it_is_mounted_at() -> None:
    root = Resource()
    root.putChild(b"", Compressed(EncodingResourceWrapper(Says(text), [GzipEncoderFactory()]), codings=["br"]))
    root.putChild(b"x", Compressed(EncodingResourceWrapper(Says(text), [GzipEncoderFactory()]), codings=["br"]))
    with Rig(root) as rig:
        for path in (b"/", b"/x"):
            (response,) = rig.exchange(say(target=path, Accept_Encoding=b"gzip"))
            assert decoded(response.body, "gzip") == TEXT


def test_an_encoder_that_says_nothing_in_the_head_is_not_coded_over() -> None:
    class Upper:
        def encoderForRequest(self, request: Any) -> Any:
            return self

        def encode(self, data: bytes) -> bytes:
            return data.upper()

        def finish(self) -> bytes:
            return b""

    response = ask(Compressed(EncodingResourceWrapper(Says(text), [Upper()])))
    assert (coded(response), response.body) == (None, TEXT.upper())


def test_the_innermost_of_two_encodes() -> None:
    inner = Compressed(Says(text), codings=["gzip"])
    response = ask(Compressed(inner, codings=["br"]), b"br, gzip")
    assert (coded(response), decoded(response.body, "gzip")) == ("gzip", TEXT)


def test_a_request_class_that_watches_what_is_written() -> None:
    from hardhttp.web.request import Request

    written: list[bytes] = []

    class Watching(Request):
        def write(self, data: bytes) -> None:
            written.append(data)
            super().write(data)

    with Rig(Compressed(Says(text)), requestFactory=Watching) as rig:
        (response,) = rig.exchange(say(Accept_Encoding=b"gzip"))
        assert decoded(response.body, "gzip") == TEXT
        assert b"".join(written) == response.body


def test_what_fails_is_logged_and_sent_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed = Compressed(Says(text), codings=["gzip"])

    def broken(*_: object) -> bytes:
        raise RuntimeError("no memory")

    for name in ("whole", "stream"):
        monkeypatch.setattr(compressed._codings["gzip"], name, broken)
    with Rig(compressed) as rig:
        (response,) = rig.exchange(say(Accept_Encoding=b"gzip"))
        assert (coded(response), response.body) == (None, TEXT)
        compressed.resource = Says(lambda request: LARGE)
        (response,) = rig.exchange(say(Accept_Encoding=b"gzip"))
        assert (coded(response), response.body) == (None, LARGE)
        compressed.resource = streams = Streams()
        peer = rig.connect()
        peer.send(say(Accept_Encoding=b"gzip"))
        streams.requests[0].finish()
        assert peer.responses()[0].body == b"first "
        assert len(rig.flush()) == 3
        assert compressed.streams == 0


# -- what is asked for --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"min_bytes": -1},
        {"max_streams": -1},
        {"types": "text/plain"},
        {"types": ["text"]},
        {"codings": "gzip"},
        {"codings": ["deflate"]},
        {"levels": {"gzip": 0}},
        {"levels": {"gzip": 10}},
        {"levels": {"br": 12}},
        {"codings": ["gzip"], "levels": {"br": 1}},
    ],
)
def test_what_cannot_be(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Compressed(Resource(), **options)


def test_wraps_a_resource() -> None:
    with pytest.raises(TypeError, match="IResource"):
        Compressed(object())  # type: ignore[arg-type]


def test_levels() -> None:
    for name in AVAILABLE:
        low, high, _ = LEVELS[name]
        for level in (low, high):
            made = coding(name, level)
            assert decoded(made.whole(TEXT), name) == TEXT
            stream = made.stream()
            assert decoded(stream.encode(TEXT, False) + stream.finish(), name) == TEXT
