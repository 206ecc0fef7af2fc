"""Bodies decoded, at their bounds and past them."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import brotli
import pytest
import zstandard
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from hardhttp.client import BadResponse, ClientReason, DecodingAgent, ResponseTooLarge
from hardhttp.client.decoding import TURN_BYTES
from tests.client.rig import Body, ClientRig, Outcome

TEXT = b"The quick brown fox jumps over the lazy dog. " * 40
ENCODE = {
    b"gzip": gzip.compress,
    b"x-gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"br": lambda data: brotli.compress(data, quality=3),
    b"zstd": zstandard.ZstdCompressor().compress,
}


def raw_deflate(data: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(data) + stream.flush()


def answer(coding: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n" % (coding, len(body)) + body


def ask(rig: ClientRig, body: Body | None = None, **options: Any) -> Outcome:
    return Outcome(DecodingAgent(rig.agent, **options).request(b"GET", b"http://a.example/"), body or Body())


@pytest.mark.parametrize("coding", sorted(ENCODE))
def test_codings(coding: bytes) -> None:
    data = answer(coding, ENCODE[coding](TEXT))
    cut = data.index(b"\r\n\r\n") + 4
    for pieces in ([data], [data[:cut], data[cut:]], [data[:cut], *(data[i : i + 1] for i in range(cut, len(data)))]):
        with ClientRig() as rig:
            asked = ask(rig)
            assert b"\r\nAccept-Encoding: gzip, br, zstd\r\n" in rig.servers[0].received
            rig.servers[0].send(*pieces)
            assert asked.body is not None
            assert asked.body.data == TEXT
            assert asked.body.end is not None
            assert asked.body.end.check(ResponseDone)
            assert not asked.response.headers.hasHeader(b"content-encoding")
            assert rig.held()["idle_connections"] == 1


def test_bare_deflate() -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        rig.servers[0].send(answer(b"deflate", raw_deflate(TEXT)))
        assert asked.body is not None
        assert asked.body.data == TEXT


def test_codings_above_each_other() -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        rig.servers[0].send(answer(b"gzip, br", brotli.compress(gzip.compress(TEXT))))
        assert asked.body is not None
        assert asked.body.data == TEXT
        unknown = ask(rig)
        rig.servers[0].send(answer(b"mystery, gzip", gzip.compress(b"?")))
        assert unknown.body is not None
        assert unknown.body.data == b"?"
        assert unknown.response.headers.getRawHeaders(b"content-encoding") == [b"mystery"]
        untouched = ask(rig)
        rig.servers[0].send(answer(b"gzip, mystery", b"?"))
        assert untouched.body is not None
        assert untouched.body.data == b"?"
        many = ask(rig)
        rig.servers[0].send(answer(b"gzip, gzip, gzip, gzip", b"?"))
        assert isinstance(many.error, BadResponse)


def test_what_the_application_accepts_is_its_own() -> None:
    from twisted.web.http_headers import Headers

    with ClientRig() as rig:
        DecodingAgent(rig.agent).request(b"GET", b"http://a.example/", Headers({b"Accept-Encoding": [b"identity"]}))
        assert b"\r\nAccept-Encoding: identity\r\n" in rig.servers[0].received
        rig.servers[0].send(answer(b"", b"x"))


def test_length_at_its_bound_and_past_it() -> None:
    for size, fails in ((5000, False), (5001, True)):
        with ClientRig(max_decoded_bytes=5000) as rig:
            asked = ask(rig)
            rig.servers[0].send(answer(b"gzip", gzip.compress(b"x" * size)))
            assert asked.body is not None
            assert asked.body.end is not None
            if fails:
                assert isinstance(asked.body.end.value, ResponseTooLarge)
                assert asked.body.end.value.reason is ClientReason.DECODED_BYTES
            else:
                assert len(asked.body.data) == size


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"deflate"])
def test_a_bomb(coding: bytes) -> None:
    bomb = ENCODE[coding](bytes(20 << 20))
    with ClientRig(max_decoded_bytes=None) as rig:
        asked = ask(rig)
        data = answer(coding, bomb + bytes(10))
        rig.servers[0].send(data[:-5])
        rig.turn()
        body = asked.body
        assert body is not None
        assert body.end is not None
        assert isinstance(body.end.value, ResponseTooLarge)
        assert len(body.data) <= (1 << 20) + 300 * len(bomb) + (8 << 20)
        rig.turn()
        assert "connections" not in rig.held()


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"deflate"])
def test_what_is_not_of_its_coding(coding: bytes) -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        rig.servers[0].send(answer(coding, b"\xffthis is nothing of the kind"))
        assert asked.body is not None
        assert asked.body.end is not None
        assert isinstance(asked.body.end.value, BadResponse)
        assert asked.body.end.value.reason is ClientReason.DECODING


@pytest.mark.parametrize("coding", [b"gzip", b"br", b"zstd", b"deflate", b"gzip, br"])
@pytest.mark.parametrize("until_close", [False, True])
def test_a_body_cut_within_its_coding(coding: bytes, until_close: bool) -> None:
    encoded = brotli.compress(gzip.compress(TEXT)[:-3]) if b"," in coding else ENCODE[coding](TEXT)
    for size in (0, 1, len(encoded) - 1, len(encoded)):
        with ClientRig() as rig:
            asked = ask(rig)
            data = answer(coding, encoded[:size])
            if until_close:
                data = data.replace(b"Content-Length: ", b"X-Length: ")
            rig.servers[0].send(data)
            rig.servers[0].lose()
            assert asked.body is not None
            assert asked.body.end is not None
            whole = size == 0 or (size == len(encoded) and b"," not in coding)
            assert (asked.body.end.check(ResponseDone, PotentialDataLoss) is not None) == whole
            if not whole:
                assert asked.body.end.value.reason is ClientReason.DECODING


def test_nothing_is_kept_of_what_lies_behind_a_deflate_body() -> None:
    for pieces in ([zlib.compress(b"x") + b"y"], [zlib.compress(b"x"), b"y"]):
        with ClientRig() as rig:
            asked = ask(rig)
            rig.servers[0].send(b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n", *pieces)
            assert asked.body is not None
            assert asked.body.data == b"x"
            assert asked.body.end is not None
            assert asked.body.end.value.reason is ClientReason.DECODING


def test_it_goes_no_faster_than_it_is_taken() -> None:
    with ClientRig() as rig:
        body = Body(lambda body, data: body.transport.pauseProducing())
        ask(rig, body)
        text = bytes(200_000)
        data = answer(b"gzip", gzip.compress(text))
        rig.servers[0].send(data[:-1])
        assert 0 < len(body.data) <= 64 * 1024
        assert rig.servers[0].wire.paused
        for _ in range(20):
            if len(body.data) == len(text):
                break
            body.transport.resumeProducing()
        assert body.data == text
        assert body.end is None
        body.on_data = None
        body.transport.resumeProducing()
        rig.servers[0].send(data[-1:])
        assert body.end is not None


@pytest.mark.parametrize("whole", [False, True])
def test_one_read_is_handed_on_in_several_turns(whole: bool) -> None:
    size = 5 << 20
    data = answer(b"gzip", gzip.compress(bytes(size)))
    with ClientRig() as rig:
        asked = ask(rig, max_ratio=2000)
        body = asked.body
        assert body is not None
        rig.servers[0].send(data[: None if whole else -1])
        assert len(body.data) == TURN_BYTES
        assert rig.servers[0].wire.paused == (not whole)
        assert body.end is None
        at_turns: list[int] = []
        rig.clock.callLater(0, lambda: at_turns.append(len(body.data)))
        rig.turn()
        assert at_turns[0] == 2 * TURN_BYTES  # others have their turn between
        assert len(body.data) == size
        assert not rig.servers[0].wire.paused
        rig.servers[0].send(data[-1:] if not whole else b"")
        assert body.end is not None
        assert body.end.check(ResponseDone)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("how", ["pause", "leave", "leave while paused", "fail"])
def test_what_an_application_does_between_the_turns(how: str, whole: bool) -> None:
    data = answer(b"gzip", gzip.compress(bytes(5 << 20)))
    with ClientRig() as rig:
        asked = ask(rig, max_ratio=2000)
        body = asked.body
        assert body is not None
        transport: Any = None
        rig.servers[0].send(data[: None if whole else -1])
        transport = body.transport
        if "pause" in how:
            transport.pauseProducing()
            rig.turn()
            assert len(body.data) == TURN_BYTES
            assert rig.servers[0].wire.paused == (not whole)
        if how == "pause":
            transport.resumeProducing()
            rig.turn()
            assert len(body.data) == 5 << 20
            rig.servers[0].send(data[-1:] if not whole else b"")
        elif how == "fail":
            body.on_data = lambda *_: 1 / 0
            rig.turn()
            assert len(body.data) == TURN_BYTES + 64 * 1024
        else:
            transport.loseConnection()
            rig.turn()
            assert len(body.data) == TURN_BYTES
        assert body.end is not None
        assert (body.end.check(ResponseDone) is not None) == (how == "pause")
        assert rig.clock.getDelayedCalls() == [] or rig.held()["timers"] == 1


def test_who_pauses_and_resumes_at_each_piece_of_many() -> None:
    def busy(body: Body, data: bytes) -> None:
        body.transport.pauseProducing()
        body.transport.resumeProducing()

    with ClientRig() as rig:
        asked = ask(rig, Body(busy), max_ratio=2000)
        rig.servers[0].send(answer(b"gzip", gzip.compress(bytes(30 << 20))))
        rig.turn()
        assert asked.body is not None
        assert len(asked.body.data) == 30 << 20
        assert asked.body.end is not None
        assert asked.body.end.check(ResponseDone)


def test_who_has_failed_is_given_no_more_but_the_end() -> None:
    with ClientRig() as rig:
        asked = ask(rig, Body(lambda *_: 1 / 0))
        data = answer(b"gzip", gzip.compress(bytes(200_000)))
        cut = data.index(b"\r\n\r\n") + 4
        rig.servers[0].send(data[:cut], data[cut:-1])
        rig.turn()
        assert asked.body is not None
        assert len(asked.body.pieces) == 1
        assert asked.body.end is not None


def test_an_application_that_leaves() -> None:
    with ClientRig() as rig:
        body = Body(lambda body, data: body.transport.loseConnection())
        ask(rig, body)
        data = answer(b"gzip", gzip.compress(bytes(200_000)))
        rig.servers[0].send(data[:-1])
        rig.turn()
        assert len(body.pieces) == 1
        assert body.end is not None
        assert rig.held() == {}


def test_no_body_is_no_coding() -> None:
    with ClientRig() as rig:
        asked = ask(rig)
        rig.servers[0].send(b"HTTP/1.1 304 No\r\nContent-Encoding: gzip\r\n\r\n")
        assert asked.body is not None
        assert asked.body.data == b""
        assert asked.response.length == 0
