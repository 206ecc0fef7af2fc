"""Compressed streams: one compression for all, and every stream a whole gzip stream of its own."""

from __future__ import annotations

import gzip
import random
import zlib
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.interfaces import Update
from hardhttp.sse import coding
from hardhttp.sse.coding import Coder, GzipStream, Secret, joined
from hardhttp.sse.history import MemoryHistory
from hardhttp.testing import Peer
from hardhttp.wire.eventstream import Event, Parser
from tests.sse.subscribing import Hub, body

EVENT = b"data: " + b'{"price": 12.5, "symbol": "ABC"}' * 20 + b"\n\n"


def inflated(coded: bytes) -> bytes:
    """All that a decoder gives out, though the stream may not have ended."""
    return zlib.decompressobj(16 + zlib.MAX_WBITS).decompress(coded)


def events_of(peer: Peer) -> list[Event]:
    return Parser().feed(inflated(body(peer)))


def subscribe(site: Hub, query: str = "", **headers: bytes) -> Peer:
    return site.subscribe(query, accept_encoding=b"gzip, deflate, br, zstd", **headers)


# -- the coder ---------------------------------------------------------------------------------


@given(st.lists(st.one_of(st.binary(max_size=200), st.binary(max_size=200).map(Secret)), max_size=20))
def test_a_stream_is_gzip_and_each_write_comes_out_at_once(pieces: list[bytes]) -> None:
    coder = Coder()
    first, late = GzipStream(coder), GzipStream(coder)
    decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)
    whole = first.begin()
    decoder.decompress(whole)
    for piece in pieces:
        coded, framed = first.encode(piece)
        assert decoder.decompress(coded) == piece
        assert framed == (b"%x\r\n%s\r\n" % (len(coded), coded))
        whole += coded
    assert gzip.decompress(whole + first.end()) == b"".join(pieces)
    # One that came late has what it was sent, and nothing else.
    rest = b"".join(late.encode(piece)[0] for piece in pieces[1:])
    assert gzip.decompress(late.begin() + rest + late.end()) == b"".join(pieces[1:])


def test_what_was_compressed_is_not_compressed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    compressed: list[bytes] = []
    real = coding._deflate
    monkeypatch.setattr(coding, "_deflate", lambda data, level: (compressed.append(data), real(data, level))[1])
    coder = Coder()
    streams = [GzipStream(coder) for _ in range(100)]
    for data in (b"one" * 50, b"two" * 50, bytearray(b"one" * 50)):
        for stream in streams:
            stream.encode(bytes(data))
    assert compressed == [b"one" * 50, b"two" * 50]


def test_what_is_kept_is_bounded() -> None:
    coder = Coder()
    for number in range(2000):
        coder.encode(random.Random(number).randbytes(1000))
    assert coder._kept_bytes == sum(coding._size(*item) for item in coder._kept.items())
    assert coding.MAX_KEPT_BYTES - 4000 < coder._kept_bytes <= coding.MAX_KEPT_BYTES
    coder.encode(bytes(coding.MAX_KEPT_BYTES + 1))
    assert not coder._kept


def test_a_secret_is_as_long_whatever_is_in_it() -> None:
    coder = Coder()
    lengths = {len(coder.encode(Secret(text))[0]) for text in (b"token=abcabcabc", b"token=xyzqwerty", b"t" * 15)}
    assert lengths == {15 + 5 + 5}
    assert len(coder.encode(b"t" * 500)[0]) < 50
    assert len(coder.encode(Secret(b"t" * 500))[0]) > 500  # the same bytes, when they are not to be compressed
    assert len(coder.encode(b"t" * 500)[0]) < 50


def test_one_secret_makes_all_that_goes_with_it_secret() -> None:
    assert type(joined([Secret(b"a"), b"b"])) is Secret
    assert type(joined([b"a", b"b"])) is bytes
    assert type(joined([Secret(b"a")])) is Secret
    assert joined([]) == b""


# -- the hub -----------------------------------------------------------------------------------


def test_the_head_says_so_only_to_who_asked() -> None:
    with Hub() as site:
        for accepted, coded in (
            (b"gzip", True),
            (b"deflate, GZIP;q=0.5", True),
            (b"*", True),
            (b"gzip;q=0", False),
            (b"br, zstd", False),
            (b"identity, gzip;q=0.1", False),
        ):
            head = site.subscribe(accept_encoding=accepted).received.partition(b"\r\n\r\n")[0].lower()
            assert (b"\r\ncontent-encoding: gzip" in head) is coded, accepted
            assert b"\r\nvary: accept-encoding" in head
        assert b"content-encoding" not in site.subscribe().received.lower()


def test_it_can_be_switched_off() -> None:
    with Hub(compressed=False) as site:
        peer = subscribe(site)
        assert b"content-encoding" not in peer.received.lower()
        assert b"vary" not in peer.received.lower()


def test_subscribers_of_either_kind_get_the_same() -> None:
    with Hub(history=MemoryHistory) as site:
        coded, plain = subscribe(site), site.subscribe()
        site.hub.publish("t", {"price": "1" * 300})
        assert inflated(body(coded)).endswith(b"1" * 300 + b'"}\n\n')
        assert len(body(coded)) < len(body(plain)) / 2
        site.rig.advance(20)  # heartbeats
        site.hub.publish("t", "public" * 100)
        site.hub.to_all("directed")
        late = subscribe(site, last_event_id=b"earliest")
        site.rig.clock.turn()
        assert [event.data for event in events_of(late)] == ['{"price":"' + "1" * 300 + '"}', "public" * 100]
        ids = [(event.id, event.data) for event in Parser().feed(body(plain))]
        assert [(event.id, event.data) for event in events_of(coded)] == ids
        site.hub.close_all()
        site.rig.clock.turn()
        for peer in (coded, late):
            (response,) = peer.responses()
            assert gzip.decompress(response.body)  # whole: its checksum and its length are right


class Forgetful(MemoryHistory):
    """As one on a disk, it keeps bytes."""

    def append(self, update: Update) -> None:
        super().append(attrs.evolve(update, encoded=bytes(update.encoded)))


@pytest.mark.parametrize("how", ["live", "joined", "history", "queue"])
def test_what_is_private_goes_out_as_it_is(how: str) -> None:
    secret = "x" * 3000
    with Hub(history=Forgetful) as site:
        if how != "history":
            peer = subscribe(site, "topic=t&allowed=t")
        (subscriber,) = site.hub.subscribers() or [None]
        if how == "joined":
            site.hub._fan_out._serving = True
            site.hub.publish("t", "public")
        if how == "queue":
            assert subscriber is not None
            subscriber.pauseProducing()
        site.hub.publish("t", secret, private=True)
        site.hub._fan_out._serving = False
        site.rig.clock.turn()
        if how == "joined":
            site.hub._fan_out._slice()
        if how == "queue":
            assert subscriber is not None
            subscriber.resumeProducing()
        if how == "history":
            peer = subscribe(site, "topic=t&allowed=t", last_event_id=b"earliest")
        site.rig.clock.turn()
        assert len(body(peer)) > len(secret)
        assert events_of(peer)[-1].data == secret


def test_to_a_user_goes_out_as_it_is() -> None:
    with Hub() as site:
        peer = subscribe(site, "user=me")
        site.hub.to_user("me", "x" * 3000)
        assert len(body(peer)) > 3000
        assert [event.data for event in events_of(peer)] == ["x" * 3000]


def test_each_event_is_compressed_once_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    real = coding._deflate
    monkeypatch.setattr(coding, "_deflate", lambda *given: (calls.append(given), real(*given))[1])
    with Hub(retry_seconds=None) as site:
        peers = [subscribe(site) for _ in range(100)]
        calls.clear()
        site.hub.publish("t", "x" * 500)
        site.rig.clock.turn()
        assert len(calls) == 1
        assert all(events_of(peer)[0].data == "x" * 500 for peer in peers)
