"""The history in memory: its bounds, its places, its gaps."""

from __future__ import annotations

import sys
from types import FrameType

import pytest
from twisted.internet.task import Clock
from zope.interface.verify import verifyObject

from hardhttp.interfaces import NAMES_BYTES, PLACE_BYTES, Gap, HistoryPage, HistoryPlace, IHistory
from hardhttp.sse import history as history_module
from hardhttp.sse.history import SCAN, SCAN_SECONDS, MemoryHistory
from hardhttp.sse.historyindex import BLOCK
from hardhttp.sse.update import OVERHEAD_BYTES, Update
from tests.sse.history_model import update


def filled(number: int, clock: Clock | None = None, **bounds: object) -> MemoryHistory:
    history = MemoryHistory(clock or Clock(), **bounds)  # type: ignore[arg-type]
    for n in range(1, number + 1):
        history.append(update(n, id=f"{history.epoch}-{n}"))
    return history


def read(history: MemoryHistory, last: str | HistoryPlace, wanted: object = ("t",), limit: int = 100) -> list[int]:
    return [u.sequence for u in history.after(last, wanted, limit).updates]  # type: ignore[arg-type]


def everything(history: MemoryHistory, last: str, wanted: object, limit: int) -> tuple[list[int], list[Gap]]:
    place: str | HistoryPlace = last
    found, gaps = [], []
    while True:
        page = history.after(place, wanted, limit)  # type: ignore[arg-type]
        assert len(page.updates) <= limit
        found += [u.sequence for u in page.updates]
        gaps += [page.gap] if page.gap else []
        place = page.place
        if not page.more:
            return found, gaps


def own(history: MemoryHistory, sequence: int) -> str:
    return f"{history.epoch}-{sequence}"


def test_is_a_history() -> None:
    assert verifyObject(IHistory, MemoryHistory(Clock()))


def test_an_empty_one() -> None:
    history = MemoryHistory(Clock())
    page = history.after("earliest", ["t"], 10)
    assert page == HistoryPage((), True, None, HistoryPlace(0, 0), False)
    assert history.last_id == own(history, 0)
    assert history.after(history.last_id, ["t"], 10) == page
    assert history.bounds().first_id is None


@pytest.mark.parametrize("wanted", [["t"], lambda topic: topic == "t"])
@pytest.mark.parametrize("limit", [1, 2, 9, 10, 11])
def test_pages_give_each_once_in_order(wanted: object, limit: int) -> None:
    history = filled(10)
    assert everything(history, "earliest", wanted, limit) == (list(range(1, 11)), [])
    assert everything(history, own(history, 4), wanted, limit) == (list(range(5, 11)), [])
    assert everything(history, own(history, 10), wanted, limit) == ([], [])


@pytest.mark.parametrize("wanted", [["t"], lambda topic: topic == "t"])
def test_what_comes_between_two_pages_is_read(wanted: object) -> None:
    history = filled(4)
    page = history.after(own(history, 1), wanted, 2)  # type: ignore[arg-type]
    history.append(update(5))
    assert page.more
    assert read(history, page.place, wanted) == [4, 5]


def test_one_id_goes_for_any_number_of_topics() -> None:
    history = MemoryHistory(Clock())
    for n in range(1, 7):
        history.append(update(n, "abc"[n % 3], id=own(history, n)))
    assert read(history, own(history, 1), ["a", "b"]) == [3, 4, 6]
    assert read(history, own(history, 1), ["a", "b", "nowhere"], 2) == [3, 4]


def test_an_update_of_several_topics_comes_once() -> None:
    history = MemoryHistory(Clock())
    history.append(update(1, "a", "b", "a"))
    assert read(history, "earliest", ["a", "b"]) == [1]
    assert read(history, "earliest", lambda topic: True) == [1]
    assert history.bounds().updates == 1
    assert history.bounds().held_bytes == OVERHEAD_BYTES


def test_topics_share_the_bytes() -> None:
    history = MemoryHistory(Clock())
    sent = update(1, "a", "b", size=100)
    history.append(sent)
    (a,), (b,) = (history.after("earliest", [name], 1).updates for name in "ab")
    assert a is b is sent


def test_a_publishers_id_is_found_as_long_as_its_update() -> None:
    history = MemoryHistory(Clock(), max_topic_updates=2)
    for n, name in enumerate(["one", "two", "three"], 1):
        history.append(update(n, id=name))
    assert history.after("two", ["t"], 9).found
    assert read(history, "two") == [3]
    assert read(history, own(history, 2)) == [3]
    page = history.after("one", ["t"], 9)
    assert (page.found, page.gap) == (False, Gap(None, None, "unknown"))
    assert [u.sequence for u in page.updates] == [2, 3]
    assert set(history._by_id) == {"two", "three"}


def test_of_two_with_one_id_the_later_counts() -> None:
    history = MemoryHistory(Clock(), max_topic_updates=2)
    for n in (1, 2):
        history.append(update(n, id="same"))
    assert read(history, "same") == []
    history.append(update(3, id="other"))
    assert read(history, "same") == [3]


def test_get() -> None:
    history = MemoryHistory(Clock(), max_topic_updates=2)
    for n, name in enumerate(["one", "two", "three"], 1):
        history.append(update(n, id=name))
    for event_id in ("two", own(history, 2)):
        found = history.get(event_id)
        assert found is not None
        assert found.sequence == 2
    for event_id in ("one", own(history, 1), own(history, 0), "earliest", "abcdefgh-2"):
        assert history.get(event_id) is None


@pytest.mark.parametrize(
    ("last", "gap"),
    [
        ("zzzzzzzz-7", Gap("zzzzzzzz-8", None, "restart")),
        ("nonsense", Gap(None, None, "unknown")),
        ("", Gap(None, None, "unknown")),
        ("zzzzzzzz-07", Gap(None, None, "unknown")),
        ("zzzzzzzz-" + "9" * 5000, Gap(None, None, "unknown")),
    ],
)
def test_an_id_that_is_not_known(last: str, gap: Gap) -> None:
    history = filled(3)
    page = history.after(last, ["t"], 2)
    assert (page.found, page.gap) == (False, gap)
    assert [u.sequence for u in page.updates] == [1, 2]
    rest = history.after(page.place, ["t"], 2)
    assert (rest.gap, [u.sequence for u in rest.updates]) == (None, [3])


def test_an_id_that_was_never_given() -> None:
    history = filled(3)
    assert history.after(own(history, 3), ["t"], 2).found
    page = history.after(own(history, 4), ["t"], 2)
    assert (page.found, page.gap) == (False, Gap(None, None, "unknown"))


@pytest.mark.parametrize("wanted", [["t"], lambda topic: topic == "t"])
def test_gap_of_what_was_evicted(wanted: object) -> None:
    history = filled(10, max_topic_updates=4)
    page = history.after(own(history, 3), wanted, 2)  # type: ignore[arg-type]
    assert page.gap == Gap(own(history, 4), own(history, 6), "evicted")
    assert page.found
    assert everything(history, own(history, 3), wanted, 1) == ([7, 8, 9, 10], [page.gap])  # told once
    assert history.after(own(history, 6), wanted, 2).gap is None  # type: ignore[arg-type]
    assert history.after("earliest", wanted, 2).gap is None  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [["b"], lambda topic: topic == "b"])
def test_gaps_of_others_are_not_told(wanted: object) -> None:
    history = MemoryHistory(Clock(), max_topic_updates=1)
    for n, name in enumerate(["b", "a", "a", "a"], 1):
        history.append(update(n, name, id=own(history, n)))
    assert everything(history, own(history, 0), wanted, 1) == ([1], [])


@pytest.mark.parametrize("wanted", [["t"], lambda topic: topic == "t"])
@pytest.mark.parametrize("start", ["earliest", 0])
def test_gap_that_comes_between_two_pages(wanted: object, start: object) -> None:
    history = filled(4, max_topic_updates=4)
    page = history.after(start if start == "earliest" else own(history, 0), wanted, 1)  # type: ignore[arg-type]
    assert page.gap is None
    for n in range(5, 8):
        history.append(update(n, id=own(history, n)))
    page = history.after(page.place, wanted, 2)  # type: ignore[arg-type]
    assert page.gap == Gap(own(history, 2), own(history, 3), "evicted")
    assert [u.sequence for u in page.updates] == [4, 5]
    assert history.after(page.place, wanted, 9).gap is None  # type: ignore[arg-type]


@pytest.mark.parametrize("wanted", [["t"], lambda topic: topic == "t"])
def test_age(wanted: object) -> None:
    clock = Clock()
    history = MemoryHistory(clock, max_age_seconds=10.0)
    history.append(update(1, at=0.0, id="one"))
    history.append(update(2, at=5.0))
    clock.advance(9.999)
    assert read(history, "earliest", wanted) == [1, 2]
    clock.advance(0.001)
    assert read(history, "earliest", wanted) == [2]
    assert history.after(own(history, 0), wanted, 9).gap == Gap(own(history, 1), own(history, 1), "expired")  # type: ignore[arg-type]
    clock.advance(5)
    assert history.expire() is False
    assert history.bounds().held_bytes == 0
    assert history._by_id == {}
    assert len(history._all._blocks) == 0


def test_age_may_be_unbounded() -> None:
    clock = Clock()
    history = filled(3, clock, max_age_seconds=None)
    clock.advance(1e9)
    assert history.expire() is False
    assert read(history, "earliest") == [1, 2, 3]


def test_expiry_goes_in_slices() -> None:
    clock = Clock()
    history = filled(2500, clock, max_topic_updates=5000, max_age_seconds=10.0)
    history.append(update(2501, at=10.0))
    clock.advance(10.0)
    assert history.expire(100) is True
    assert history.bounds().updates == 2401
    page = history.after(own(history, 5), ["t"], 10)
    assert (page.updates, page.gap, page.more) == ((), None, True)  # 1000 more are gone; ask again
    assert history.bounds().updates == 1401
    expected = Gap(own(history, 6), own(history, 2500), "expired")
    found, gaps = [], []
    while page.more:
        page = history.after(page.place, ["t"], 10)
        found += page.updates
        gaps += [page.gap] if page.gap else []
    assert ([u.sequence for u in found], gaps) == ([2501], [expected])
    assert history.expire() is False


def test_earliest_is_told_no_gap_of_slow_expiry() -> None:
    clock = Clock()
    history = filled(2500, clock, max_topic_updates=5000, max_age_seconds=10.0)
    history.append(update(2501, at=10.0))
    clock.advance(10.0)
    assert everything(history, "earliest", ["t"], 10) == ([2501], [])


def test_topic_bytes_at_the_bound_and_past_it() -> None:
    each = OVERHEAD_BYTES + 10
    history = MemoryHistory(Clock(), max_topic_bytes=3 * each)
    for n in range(1, 4):
        history.append(update(n, size=10))
    assert read(history, "earliest") == [1, 2, 3]
    history.append(update(4, "other", size=10))
    history.append(update(5, size=11))
    assert read(history, "earliest") == [3, 5]


def test_all_bytes_at_the_bound_and_past_it() -> None:
    history = MemoryHistory(Clock(), max_bytes=3 * OVERHEAD_BYTES)
    for n in range(1, 4):
        history.append(update(n, str(n), "all"))
    assert read(history, "earliest", lambda topic: True) == [1, 2, 3]
    history.append(update(4, "4"))
    assert read(history, "earliest", lambda topic: True) == [2, 3, 4]
    assert history.bounds().held_bytes == 3 * OVERHEAD_BYTES
    history.append(update(5, "5", size=5 * OVERHEAD_BYTES))  # larger than all that is allowed
    assert history.bounds().updates == 0
    assert history.after(own(history, 4), ["5"], 1).gap == Gap(own(history, 5), own(history, 5), "evicted")


def test_long_names_and_many_topics_count() -> None:
    assert update(1, "t" * (NAMES_BYTES - 1), id="1").held_bytes == OVERHEAD_BYTES
    assert update(1, "t" * NAMES_BYTES, id="1").held_bytes == OVERHEAD_BYTES + 1
    assert update(1, "\N{PARROT}" * NAMES_BYTES, id="1").held_bytes == OVERHEAD_BYTES + 3 * NAMES_BYTES + 1
    many = update(1, *(f"{number}" * 2000 for number in range(9)))
    assert many.held_bytes > 9 * 2000 + 8 * PLACE_BYTES
    history = MemoryHistory(Clock(), max_bytes=100_000)
    for number in range(1, 100):
        history.append(update(number, *(f"{each}" * 2000 for each in range(9))))
    assert history.bounds().updates == 100_000 // many.held_bytes


@pytest.mark.parametrize("unwanted", [False, True])
def test_a_slow_selector_holds_nobody_up(unwanted: bool) -> None:
    """What it costs to ask a function of topics is the subscriber's choice."""
    clock = Clock()
    history = filled(1000, clock, max_topic_updates=2000)

    def slow(topic: str) -> bool:
        clock.advance(0.001)
        return not unwanted

    page = history.after("earliest", slow, 500)
    assert clock.seconds() <= SCAN_SECONDS + 0.002
    assert (page.more, 0 < page.place.sequence < 10) == (True, True)
    place, found = page.place, [u.sequence for u in page.updates]
    while page.more:
        page = history.after(place, slow, 500)
        place, found = page.place, found + [u.sequence for u in page.updates]
    assert found == ([] if unwanted else list(range(1, 1001)))


def test_a_slow_selector_is_told_of_a_loss_that_may_be_its_own() -> None:
    clock = Clock()
    history = MemoryHistory(clock, max_topic_updates=1)
    for number in range(1, 201):
        history.append(update(number, f"{number % 100}"))

    def slow(topic: str) -> bool:
        clock.advance(0.001)
        return False

    gap = history.after(own(history, 0), slow, 500).gap
    assert clock.seconds() <= 2 * SCAN_SECONDS + 0.004
    assert gap == Gap(own(history, 1), own(history, 100), "evicted")


@pytest.mark.parametrize("wanted", [["a"], lambda topic: topic == "a"])
def test_what_one_topic_has_dropped_another_keeps(wanted: object) -> None:
    history = MemoryHistory(Clock(), max_topic_updates=1)
    history.append(update(1, "a", "b"))
    history.append(update(2, "a"))
    assert read(history, "earliest", wanted) == [2]
    assert read(history, "earliest", ["b"]) == [1]


def test_topics_at_the_bound_and_past_it() -> None:
    history = MemoryHistory(Clock(), max_topics=2)
    for n, name in enumerate(["a", "b", "a", "c"], 1):
        history.append(update(n, name))
    assert history.bounds().topics == 2
    assert read(history, "earliest", lambda topic: True) == [1, 3, 4]  # b was silent longest
    for wanted in (["b"], lambda topic: topic == "b"):
        gap = history.after(own(history, 1), wanted, 1).gap  # type: ignore[arg-type]
        assert gap == Gap(own(history, 2), own(history, 2), "evicted")
        assert history.after(own(history, 2), wanted, 1).gap is None  # type: ignore[arg-type]
    history.append(update(5, "b"))  # it has not forgotten that it lost something
    assert history.after(own(history, 1), ["b"], 1).gap is not None
    assert len(history._topics) == 2


def test_numbers_go_up() -> None:
    history = filled(3)
    with pytest.raises(ValueError, match="number is 3"):
        history.append(update(3))
    history.append(update(1000))
    assert everything(history, own(history, 2), lambda topic: True, 1) == ([3, 1000], [])


@pytest.mark.parametrize("name", ["max_topic_updates", "max_topic_bytes", "max_age_seconds", "max_bytes", "max_topics"])
def test_bounds_are_positive(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        MemoryHistory(Clock(), **{name: 0})
    with pytest.raises(ValueError, match="limit"):
        MemoryHistory(Clock()).after("earliest", [], 0)


def steps_of(call: object) -> int:
    """How many lines of the history's own run."""
    count = 0

    def trace(frame: FrameType, event: str, arg: object) -> object:
        nonlocal count
        if "hardhttp" not in frame.f_globals["__name__"]:
            return None  # a callback of the collector's
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)  # type: ignore[arg-type]
    try:
        call()  # type: ignore[operator]
    finally:
        sys.settrace(before)
    return count


class Counted(int):
    """A place that counts how often it is compared."""

    compared = 0

    def __lt__(self, other: object) -> bool:
        Counted.compared += 1
        return int.__lt__(self, other)  # type: ignore[operator]


@pytest.mark.parametrize("number", [pytest.param(10_000), pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_finding_a_place_costs_the_same(number: int) -> None:
    few = filled(100, max_topic_bytes=1 << 40, max_bytes=1 << 40, max_topic_updates=number)
    many = filled(number, max_topic_bytes=1 << 40, max_bytes=1 << 40, max_topic_updates=number)

    def cost(history: MemoryHistory, sequence: int, wanted: object) -> int:
        return steps_of(lambda: history.after(own(history, sequence), wanted, 3))  # type: ignore[arg-type]

    for sequence in (1, 50, number // 2, number - 50):
        assert cost(many, sequence, ["t"]) == cost(few, 50, ["t"])
        # A scan looks through the one block its place is in.
        assert cost(many, sequence, bool) <= cost(few, 1, bool) + 3 * BLOCK
    Counted.compared = 0
    next(many._topics["t"].after(Counted(number // 2)))
    assert Counted.compared <= 20


def test_a_scan_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_module, "SCAN", 50)
    history = filled(500)
    history.append(update(501, "wanted"))
    asked = []
    page = history.after("earliest", lambda topic: bool(asked.append(topic)), 10)
    assert len(asked) == 50
    assert (page.updates, page.more) == ((), True)
    assert everything(history, "earliest", lambda topic: topic == "wanted", 10) == ([501], [])
    assert SCAN == 2048


def test_numbers_may_lie_far_apart() -> None:
    history = MemoryHistory(Clock())
    for n in (1, 5 * BLOCK - 1, 5 * BLOCK, 9 * BLOCK + 3):
        history.append(update(n))
    for limit in (1, 10):
        found, _ = everything(history, "earliest", lambda topic: True, limit)
        assert found == [1, 5 * BLOCK - 1, 5 * BLOCK, 9 * BLOCK + 3]


def test_memory_is_given_back() -> None:
    history = filled(5000, max_topic_updates=10)
    log = history._topics["t"]
    assert len(log) == 10
    assert len(log._updates) <= 200
    assert len(history._all._blocks) <= 2


def test_update_is_a_value() -> None:
    assert "secret" not in repr(Update(1, "a", ("t",), True, None, b"secret", 0.0))
