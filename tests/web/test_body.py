"""Where a body is kept: in memory, and past a size in a file."""

from __future__ import annotations

import tempfile
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp import Limits
from hardhttp.testing import Rig, every_split
from hardhttp.web import body as body_module
from hardhttp.web.body import SMALL_BYTES, BodyStore
from tests.web.saying import Says, say


def test_at_the_bound_in_memory_and_past_it_in_a_file() -> None:
    store = BodyStore(spool_bytes=10)
    store.write(b"0123456789")
    assert store.held_bytes == 10
    store.write(b"x")
    assert store.held_bytes == 0
    store.write(b"y")
    assert (store.held_bytes, store.received_bytes) == (0, 12)
    assert store.file().read() == b"0123456789xy"
    store.close()


@given(st.lists(st.integers(0, 3 * SMALL_BYTES), max_size=8), st.sampled_from([0, 100, 1 << 20]))
def test_what_went_in_comes_out(sizes: list[int], spool_bytes: int) -> None:
    pieces = [bytes([i]) * size for i, size in enumerate(sizes)]
    store = BodyStore(spool_bytes)
    for piece in pieces:
        store.write(piece)
    file = store.file()
    assert file.read() == b"".join(pieces)
    file.seek(0)
    assert file.read(1) == b"".join(pieces)[:1]
    file.close()
    store.close()


def test_a_body_in_drops_is_not_an_object_a_drop() -> None:
    store = BodyStore(spool_bytes=1 << 20)
    for _ in range(10_000):
        store.write(b"x")
    assert len(store._pieces) == 1
    assert store.file().read() == b"x" * 10_000


def test_a_piece_handed_in_is_not_changed_by_the_next() -> None:
    piece = b"first"
    store = BodyStore(spool_bytes=100)
    store.write(piece)
    store.write(b"second")
    assert piece == b"first"


def test_without_a_descriptor_the_body_stays_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    tries = []

    def none_left() -> Any:
        tries.append(None)
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(body_module.tempfile, "TemporaryFile", none_left)
    with Rig(Says(lambda request: request.content.read()), limits=Limits(spool_bytes=10)) as rig:
        (response,) = rig.exchange(say(b"POST", body=b"z" * 5000))
        assert response.body == b"z" * 5000
        assert tries
        rig.exchange(*[say(b"POST", body=b"z" * 5000)[i : i + 1] for i in range(5100)])
        assert len(tries) < 20  # it is not tried at every byte


def test_the_file_is_closed_when_the_request_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[Any] = []

    def note() -> Any:
        files.append(real())
        return files[-1]

    real = tempfile.TemporaryFile
    monkeypatch.setattr(body_module.tempfile, "TemporaryFile", note)
    with Rig(Says(lambda request: b"unread"), limits=Limits(spool_bytes=10)) as rig:
        rig.exchange(say(b"POST", body=b"z" * 100))  # whole, and nobody asked for it
        left = rig.connect()
        left.send(say(b"POST", body=b"z" * 100)[:-1])
        assert not files[1].closed
        assert rig.site.ledger.snapshot()["body_bytes"] == 0
        left.reset()  # half
    assert [file.closed for file in files] == [True, True]


def test_what_is_in_memory_is_in_the_ledger() -> None:
    with Rig(Says(lambda request: b"")) as rig:
        peer = rig.connect()
        peer.send(say(b"POST", body=b"z" * 5000)[:-1000])
        assert 3900 <= rig.site.ledger.snapshot()["body_bytes"] <= 4000
        peer.send(b"z" * 1000)
        assert rig.site.ledger.snapshot()["body_bytes"] == 0


@pytest.mark.parametrize("spool_bytes", [0, 5, 1000])
def test_a_body_is_the_same_however_it_is_split(spool_bytes: int) -> None:
    with Rig(Says(lambda request: request.content.read()), limits=Limits(spool_bytes=spool_bytes)) as rig:
        for pieces in every_split(say(b"POST", body=b"0123456789")):
            assert rig.exchange(*pieces)[0].body == b"0123456789"
        chunked = say(b"POST", Transfer_Encoding=b"chunked") + b"4\r\n0123\r\n6;a=b\r\n456789\r\n0\r\nX: y\r\n\r\n"
        for pieces in every_split(chunked):
            assert rig.exchange(*pieces)[0].body == b"0123456789"
