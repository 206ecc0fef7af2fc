"""What all of a process may hold together: each share at its bound, who waits, who goes, and that it all ends."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs
import pytest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import Reason
from hardhttp.interfaces import SessionTimes, Update
from hardhttp.limits import Limits
from hardhttp.net.budget import WAIT_SECONDS, Budget, Keeper, Pressure
from hardhttp.net.ledger import BODY, EVENTS, UNSENT
from hardhttp.net.outbound import unsent_bytes
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import Ended, EventHub
from hardhttp.sse.mercure import Mercure
from hardhttp.sse.subscriptions import WEIGHED_BYTES
from hardhttp.stores.memory import MemoryStore
from hardhttp.testing import Peer, Rig
from hardhttp.testing.http2 import HTTP2Peer

BUDGET = 100_000
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
LIMITS = Limits(max_buffered_bytes=BUDGET, max_body_bytes=1 << 20, spool_bytes=1 << 20)


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> Any:
        return NOT_DONE_YET if request.path == b"/later" else b"page"

    def render_POST(self, request: Any) -> bytes:
        return b"%d" % len(request.content.read())


@pytest.fixture
def rig() -> Iterator[Rig]:
    with Rig(Page(), limits=LIMITS) as rig:
        yield rig


def upload(rig: Rig, size: int, whole: int = 1 << 20) -> Peer:
    peer = rig.connect()
    peer.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % whole, b"x" * size)
    return peer


def pressure(rig: Rig) -> Pressure:
    return rig.site.server.budget.pressure


@pytest.mark.parametrize(
    ("size", "expected"),
    [(80_000, Pressure.NONE), (80_001, Pressure.NEAR), (95_000, Pressure.NEAR), (95_001, Pressure.FULL)],
)
def test_each_share_at_its_bound_and_past_it(rig: Rig, size: int, expected: Pressure) -> None:
    upload(rig, size)
    assert pressure(rig) is expected


def test_near_it_the_largest_body_waits_and_its_deadline_rests(rig: Rig) -> None:
    small, large = upload(rig, 20_000), upload(rig, 60_001)
    large.send(b"x" * 5_000)
    small.send(b"x" * 1_000)
    assert large.unread == 5_000
    assert small.unread == 0
    assert rig.site.ledger.held_bytes == 81_001
    small.reset()  # there is room again
    rig.advance(1)
    assert pressure(rig) is Pressure.NONE
    assert large.unread == 0
    assert rig.site.ledger.held_bytes == 65_001


def test_near_it_one_that_is_half_as_large_waits_too(rig: Rig) -> None:
    large, half, small = upload(rig, 40_000), upload(rig, 20_000), upload(rig, 19_990)
    small.send(b"x" * 5)
    half.send(b"x" * 10)  # 80,005: the largest waits
    half.send(b"x" * 101)  # and then this one, which is half of it
    for peer in (large, half, small):
        peer.send(b"x")
    assert [peer.unread for peer in (large, half, small)] == [1, 1, 0]


def test_near_it_a_byte_at_a_time_has_nobody_looked_for_each_time(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """There may be thousands of bodies, and each look goes over all of them."""
    looks = []
    hold_back = Budget._hold_back

    def look(budget: Budget, count: int) -> None:
        looks.append(budget.held_bytes)
        hold_back(budget, count)

    monkeypatch.setattr(Budget, "_hold_back", look)
    upload(rig, 60_000)
    small = upload(rig, 20_001)
    for _ in range(250):
        small.send(b"x")
    assert looks == [80_001, 80_101, 80_201]
    small.reset()  # and from the beginning, when there was room again
    upload(rig, 20_002)
    assert looks[3:] == [80_002]


def test_near_it_as_many_wait_as_sent_more_since_the_last_look(rig: Rig) -> None:
    upload(rig, 20_500)  # the largest waits at once
    peers = [upload(rig, 20_000 - n) for n in range(3)]
    assert rig.site.ledger.held_bytes == 80_497
    for peer in peers:
        peer.send(b"x" * 34)  # a look at the third
    for peer in peers:
        peer.send(b"x")
    assert [peer.unread for peer in peers] == [1, 1, 1]


def test_it_is_not_over_before_there_is_room(rig: Rig) -> None:
    small, large = upload(rig, 15_000), upload(rig, 65_001)
    assert pressure(rig) is Pressure.NEAR
    small.send(b"x" * 0)
    other = upload(rig, 0)
    small.reset()  # 65,001: below seven tenths
    rig.advance(1)
    assert pressure(rig) is Pressure.NONE
    other.send(b"x" * 10_000)  # 75,001: and above it again, which is not yet near
    assert pressure(rig) is Pressure.NONE
    large.send(b"x" * 10_000)
    assert pressure(rig) is Pressure.NEAR
    other.reset()
    rig.advance(1)
    assert rig.site.ledger.held_bytes == 75_001
    assert pressure(rig) is Pressure.NEAR


def test_full_new_work_is_answered_503(rig: Rig) -> None:
    open_before = rig.connect()
    open_before.send(GET)
    upload(rig, 95_001)
    open_before.send(GET)
    assert [response.status for response in open_before.responses()] == [200, 503]
    assert open_before.responses()[1].reason == "buffered-bytes"
    (response,) = rig.exchange(GET)
    assert (response.status, response.reason) == (503, "buffered-bytes")
    assert rig.site.statistics.refused[Reason.BUFFERED_BYTES] == 2


def test_full_a_new_connection_is_told_so_before_it_asks(rig: Rig) -> None:
    upload(rig, 95_001)
    (response,) = rig.connect().responses()
    assert (response.status, response.reason) == (503, "buffered-bytes")
    assert rig.site.statistics.rejected == 1


def test_near_it_the_largest_body_of_http2_waits_too(rig: Rig) -> None:
    peer = HTTP2Peer(rig)
    numbers = []
    for size in (60_000, 21_000):
        number = peer.begin(b"POST", b"/")
        for begin in range(0, size, 10_000):
            peer.body(number, b"x" * min(10_000, size - begin), end=False)
        numbers.append(number)
    large, small = (peer.protocol.streams[number] for number in numbers)
    assert (large.body_is_paused, small.body_is_paused) == (True, False)
    peer.cancel(numbers[1])
    rig.advance(1)
    assert not large.body_is_paused
    peer.cancel(numbers[0])


def test_full_http2_is_refused_by_the_stream(rig: Rig) -> None:
    peer = HTTP2Peer(rig)
    large = upload(rig, 95_001)
    refused = peer.response(peer.request(b"GET", b"/"))
    assert (refused.status, refused.reason) == (503, "buffered-bytes")
    large.transport.abortConnection()
    rig.advance(1)
    assert peer.response(peer.request(b"GET", b"/")).status == 200


def test_one_page_for_many_who_stopped_reading_is_counted_once(rig: Rig) -> None:
    """Else sixteen who ask for the same page of 16 MiB would keep all others out of a server that holds it once."""
    page, peers = b"x" * 70_000, [rig.connect() for _ in range(4)]
    for peer in peers:
        peer.take(1000)  # the head, and a little of the page
        peer.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        peer.protocol.request.setHeader(b"content-length", b"%d" % len(page))  # else it is sent in chunks: copies
        peer.protocol.request.write(page)
    assert rig.site.server.budget.shed_count == 0
    assert 70_000 <= rig.site.ledger.held_bytes < 71_000
    assert pressure(rig) is Pressure.NONE
    for peer in peers[:3]:
        peer.reset()
        assert 70_000 <= rig.site.ledger.held_bytes < 71_000
    rig.advance(1)
    assert 70_000 <= rig.site.ledger.held_bytes < 71_000
    peers[3].take(None)
    rig.clock.turn()
    rig.advance(1)
    assert rig.site.ledger.held_bytes == 0


def test_what_an_aborted_one_had_queued_is_free_at_once(rig: Rig) -> None:
    """Not in the reactor's next turn: more may be written in this one than there is room for."""
    peers = [rig.connect() for _ in range(2)]
    for peer in peers:
        peer.take(0)
        peer.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
    first, second = peers
    first.protocol.request.write(b"x" * 70_000)
    second.protocol.request.write(b"x" * 69_000)
    assert first.transport.dataBuffer == b""
    assert not first.transport._tempDataBuffer
    assert unsent_bytes(second.transport) >= 60_000
    assert first.aborted


def test_what_is_sent_in_part_is_kept_whole_and_counts_so(rig: Rig) -> None:
    peer = rig.connect()
    peer.take(60_000)
    peer.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
    peer.protocol.request.write(b"x" * 70_000)
    rig.advance(1)
    assert rig.site.ledger.held_bytes > 70_000


def test_part_of_a_head_is_not_refused_before_it_is_whole(rig: Rig) -> None:
    peer = rig.connect()
    upload(rig, 95_001)
    peer.send(GET[:10])
    assert peer.received == b""
    peer.send(GET[10:])
    assert peer.responses()[0].status == 503


def test_afterwards_everything_is_as_it_was(rig: Rig) -> None:
    large = upload(rig, 95_001)
    large.transport.abortConnection()  # nothing is read from it, so a reset would not be seen here
    rig.advance(1)
    assert pressure(rig) is Pressure.NONE
    assert rig.exchange(GET)[0].status == 200


def test_bodies_that_wait_for_one_another_do_not_wait_for_ever(rig: Rig) -> None:
    peers = [upload(rig, 30_000) for _ in range(3)]
    for peer in peers:
        peer.send(b"x" * 1_000)
    for peer in peers:
        peer.send(b"x" * 5_000)
    assert all(peer.unread for peer in peers)
    rig.advance(WAIT_SECONDS - 2)
    assert not any(peer.received for peer in peers)
    rig.advance(3)
    assert [peer.responses()[0].reason for peer in peers if peer.received] == ["buffered-bytes"]
    rig.advance(1)
    assert pressure(rig) is Pressure.NONE
    assert not any(peer.unread for peer in peers if not peer.received)


def test_those_that_wait_are_read_on_one_after_another_as_there_is_room(rig: Rig) -> None:
    """All at once would fill it again, and new work be refused."""
    peers = [upload(rig, 8_500) for _ in range(10)]
    for peer in peers:
        peer.send(b"x" * 101)  # it is one of the largest, and waits from here on
        peer.send(b"x" * 4_000)
    assert all(peer.unread for peer in peers)
    for peer in peers[:2]:
        peer.transport.abortConnection()
    waiting = []
    for _ in range(5):
        rig.advance(1)
        waiting.append(sum(1 for peer in peers[2:] if peer.unread))
    assert waiting == [7, 6, 5, 5, 5]
    assert pressure(rig) is Pressure.NEAR
    peers[2].transport.abortConnection()
    rig.advance(1)
    assert sum(1 for peer in peers[3:] if peer.unread) == 4
    assert not any(peer.received for peer in peers)


def test_who_keeps_it_full_does_not_keep_others_out(rig: Rig) -> None:
    large, small = upload(rig, 90_000), upload(rig, 5_001)
    rig.advance(WAIT_SECONDS - 2)
    assert not large.received
    rig.advance(3)
    assert large.responses()[0].reason == "buffered-bytes"
    assert not small.received
    assert rig.exchange(GET)[0].status == 200


def test_full_who_takes_nothing_goes_soon(rig: Rig) -> None:
    """Not those who make progress, however much they hold, and not more than it takes."""
    stopped = []
    for _ in range(3):
        peer = rig.connect()
        peer.take(0)
        peer.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
        peer.protocol.request.write(b"x" * 20_000)
        rig.site.ledger.hold(peer.transport, UNSENT, 20_000)
        stopped.append(peer)
    large = upload(rig, 39_000)
    assert pressure(rig) is Pressure.FULL
    rig.advance(2)
    assert not any(peer.aborted for peer in stopped)
    rig.advance(2)
    assert [peer.aborted for peer in stopped].count(True) == 2
    assert not large.received
    assert pressure(rig) is Pressure.NONE
    assert rig.exchange(GET)[0].status == 200


def test_of_many_each_is_weighed_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands may have to go at once, and nobody is served meanwhile."""
    peers = [upload(rig, 900) for _ in range(100)]
    weighed: list[Any] = []
    budget = rig.site.server.budget
    weight = Budget._weight
    monkeypatch.setattr(Budget, "_weight", lambda self, owner: weighed.append(owner) or weight(self, owner))
    rig.site.limits = attrs.evolve(LIMITS, max_buffered_bytes=65_536)
    rig.advance(1)
    assert sum(1 for peer in peers if peer.received) > 20
    assert budget.held_bytes <= 65_536
    assert len(weighed) <= 100


def test_the_slow_goes_before_one_that_is_a_little_heavier(rig: Rig) -> None:
    """Ten seconds without progress count ten times."""
    slow = rig.connect()
    slow.take(0)
    slow.send(b"GET /later HTTP/1.1\r\nHost: a\r\n\r\n")
    slow.protocol.request.write(b"x" * 20_000)
    rig.site.ledger.hold(slow.transport, UNSENT, 20_000)
    rig.advance(10)
    quick = upload(rig, 60_000)
    quick.send(b"x" * 1)
    upload(rig, 40_001)
    assert slow.aborted
    assert not quick.closed
    assert rig.site.statistics.closed[Reason.BUFFERED_BYTES] == 1


def test_what_nobody_can_shed_hangs_nothing(rig: Rig) -> None:
    rig.site.server.hold("a store", BODY, BUDGET + 1)
    assert pressure(rig) is Pressure.FULL
    rig.site.server.hold("a store", BODY, 0)
    assert pressure(rig) is Pressure.NONE


# -- stores ----------------------------------------------------------------------------------------


def test_a_store_has_a_quarter_and_then_gives_up_its_oldest(rig: Rig) -> None:
    given: list[int] = []
    kept = [30_000]

    def shed(size: int) -> None:
        given.append(size)
        kept[0] -= size

    rig.site.server.budget.keepers.append(Keeper("things", lambda: kept[0], shed))
    upload(rig, 50_000)
    assert given == []  # there is room
    upload(rig, 1)
    assert given == [5_000]
    assert rig.site.server.budget.held_bytes == 75_001
    assert rig.site.server.budget.shed_count == 1


def test_a_store_that_fills_by_itself_is_seen_within_a_second(rig: Rig) -> None:
    kept = [0]
    rig.site.server.budget.keepers.append(Keeper("things", lambda: kept[0], lambda size: None))
    upload(rig, 1)
    kept[0] = 90_000
    assert pressure(rig) is Pressure.NONE
    rig.advance(1)
    assert pressure(rig) is Pressure.NEAR
    kept[0] = 0
    rig.advance(1)
    assert pressure(rig) is Pressure.NONE


def test_sessions_in_memory_give_up_the_oldest() -> None:
    store = MemoryStore()
    for number in range(10):
        times = SessionTimes(0.0, float(number), 100.0)
        store.save_now(b"%d" % number, {"a": "x" * 99}, times, Limits(), True)
    store.shed(250)
    assert (store.held_bytes, store.evicted) == (700, 3)
    assert store.load_now(b"2", 1.0) is None
    assert store.load_now(b"3", 1.0) is not None
    store.shed(10**9)
    assert (store.held_bytes, store.evicted) == (0, 10)


def test_a_history_gives_up_the_oldest_and_a_gap_is_told(rig: Rig) -> None:
    history = MemoryHistory(rig.clock)
    for number in range(1, 11):
        history.append(Update(number, f"a-{number}", ("t",), False, None, b"x" * 100, rig.clock.seconds()))
    each = history.held_bytes // 10
    history.shed(each * 3)
    assert history.held_bytes == 7 * each
    page = history.after(f"{history.epoch}-0", ("t",), 100)
    assert (page.updates[0].sequence, page.gap is not None) == (4, True)
    history.shed(10**9)
    assert history.held_bytes == 0


def test_of_a_hub_the_slowest_goes() -> None:
    with Rig(Resource(), limits=Limits(max_buffered_bytes=10 * BUDGET)) as rig:
        hub = EventHub(rig.clock)
        rig.site.resource = Mercure(hub, anonymous=True)
        peers = [rig.connect() for _ in range(3)]
        for peer in peers:
            peer.send(b"GET /?topic=t HTTP/1.1\r\nHost: a\r\n\r\n")
        for peer in peers[:2]:
            peer.take(0)
            for _ in range(20):
                hub.publish("t", "x" * 5_000)
                rig.clock.turn()
        assert len(hub.waiting) == 2
        queued = hub.queued_bytes
        rig.site.server.hold(hub, EVENTS, 20 * BUDGET)  # what it has, and more
        assert hub.ends[Ended.OVERFLOW] == 1
        assert hub.queued_bytes < queued
        assert [peer.closed for peer in peers] == [True, False, False]


def test_a_hub_counts_with_its_history_and_its_slowest_goes() -> None:
    limits = Limits(max_buffered_bytes=BUDGET)
    with Rig(Resource(), limits=limits) as rig:
        hub = EventHub(rig.clock, history=MemoryHistory(rig.clock), max_queued_bytes=1 << 20)
        rig.site.resource = Mercure(hub, anonymous=True)
        first, second, third = (rig.connect() for _ in range(3))
        for peer in (first, second, third):
            peer.send(b"GET /?topic=t HTTP/1.1\r\nHost: a\r\n\r\n")
        rig.clock.turn()
        assert [keeper.kind for keeper in rig.site.server.budget.keepers] == ["sessions", "history"]
        for peer in (first, second):
            peer.take(0)
        for _ in range(40):
            hub.publish("t", "x" * 5_000)
            rig.clock.turn()
            assert rig.site.server.budget.held_bytes <= BUDGET + 2 * WEIGHED_BYTES
        rig.advance(1)
        assert rig.site.server.budget.held_bytes <= BUDGET
        assert hub.history.held_bytes <= BUDGET // 2  # of five times as much
        assert first.closed
        assert not third.closed
        assert rig.site.server.budget.shed_count > 0
