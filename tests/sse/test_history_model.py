"""Both histories against plain lists, by Hypothesis: appends, bounds, expiry, restarts, and readers meanwhile."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from hardhttp.interfaces import Gap, HistoryPlace, Wanted
from hardhttp.sse import history as history_module
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.historysqlite import SQLiteHistory
from hardhttp.sse.update import OVERHEAD_BYTES
from tests.sse.history_model import HistoryModel, update
from tests.sse.thread_clock import ThreadClock

TOPICS = ["a", "b", "c", "d"]
topics = st.lists(st.sampled_from(TOPICS), min_size=1, max_size=3)


@attrs.define(eq=False)
class Reader:
    """Someone who reads page by page while others publish."""

    place: str | HistoryPlace
    start: int  # the number he has come from
    topics: frozenset[str]
    exact: bool
    limit: int
    read: list[int] = attrs.Factory(list)
    gaps: list[Gap] = attrs.Factory(list)
    missed_before: set[int] = attrs.Factory(set)  # when he asked for the earliest: what was lost by then

    def wants(self, topic: str) -> bool:
        return topic in self.topics

    @property
    def wanted(self) -> Wanted:
        return self.topics if self.exact else self.wants


class Histories(RuleBasedStateMachine):
    @initialize(
        updates=st.integers(1, 6),
        topic_size=st.integers(1, 6),
        size=st.integers(1, 12),
        most=st.integers(1, 5),
        slices=st.sampled_from([1, 3, 1000]),
        scan=st.sampled_from([1, 3, 2048]),
    )
    def begin(self, updates: int, topic_size: int, size: int, most: int, slices: int, scan: int) -> None:
        each = OVERHEAD_BYTES + 5
        self.patch = pytest.MonkeyPatch()
        self.scan = scan
        self.patch.setattr(history_module, "SCAN", scan)
        self.patch.setattr(history_module, "READ_SLICE", slices)
        self.patch.setattr(history_module, "APPEND_SLICE", 1000)
        self.clock = ThreadClock()
        self.folder = Path(tempfile.mkdtemp())
        self.bounds = {
            "max_topic_updates": updates,
            "max_topic_bytes": topic_size * each,
            "max_age_seconds": 10.0,
            "max_bytes": size * each,
            "max_topics": most,
        }
        self.model = HistoryModel(updates, topic_size * each, 10.0, size * each, most)
        self.histories: list[MemoryHistory] = [
            MemoryHistory(self.clock, **self.bounds),  # type: ignore[arg-type]
            self.open(),
        ]
        self.names = [[history.epoch] for history in self.histories]
        self.readers: list[list[Reader]] = []
        self.restarts: list[int] = []

    def open(self) -> SQLiteHistory:
        return SQLiteHistory(self.folder / "history.db", self.clock, **self.bounds)  # type: ignore[arg-type]

    @rule(names=topics, size=st.integers(0, 10), named=st.booleans())
    def append(self, names: list[str], size: int, named: bool) -> None:
        sequence = self.histories[0].last_sequence + 1
        now = self.clock.seconds()
        for history in self.histories:
            event_id = f"name{sequence}" if named else f"{history.epoch}-{sequence}"
            history.append(update(sequence, *names, id=event_id, size=size, at=now))
        self.model.append(update(sequence, *names, size=size, at=now))
        self.model.expire(now)

    @rule(seconds=st.sampled_from([1.0, 4.0, 10.0]))
    def time(self, seconds: float) -> None:
        self.clock.advance(seconds)

    @rule()
    def expire(self) -> None:
        for history in self.histories:
            while history.expire(2):
                pass
        self.model.expire(self.clock.seconds())

    @rule(crash=st.booleans())
    def restart(self, crash: bool) -> None:
        history = self.histories[1]
        assert isinstance(history, SQLiteHistory)
        if crash:
            self.clock.wait(history.flush())
            self.clock.wait(history._thread.stop())
            history._let_go()
        else:
            self.clock.wait(history.close())
        self.histories[1] = self.open()
        self.names[1].append(self.histories[1].epoch)
        for pair in self.readers:  # places are of the old one; those who read bring the last id they have
            pair[1] = None  # type: ignore[call-overload]

    def after(self, start: int, wanted: frozenset[str]) -> list[int]:
        return [u.sequence for u in self.model.read(start, wanted.__contains__)]

    @rule(data=st.data(), wanted=st.frozensets(st.sampled_from(TOPICS)), exact=st.booleans())
    def read_all(self, data: st.DataObject, wanted: frozenset[str], exact: bool) -> None:
        """From any place there is, all at once."""
        self.expire()
        start = data.draw(st.integers(0, self.histories[0].last_sequence))
        for number, history in enumerate(self.histories):
            name = history.epoch if start == history.last_sequence else self.names[number][0]
            reader = Reader(f"{name}-{start}", start, wanted, exact, 100)
            if not history._find(f"{name}-{start}")[0]:
                continue  # a later epoch's
            self.finish(history, reader)
            assert reader.read == self.after(start, wanted)
            if reader.gaps:
                # Or a topic was forgotten, and then nobody knows; or more were to be asked than one page asks.
                asked = sum(log.lost_to > start for log in history._topics.values())
                too_many = not exact and asked > self.scan
                assert self.model.has_lost(start, wanted.__contains__) or history._forgotten_to > start or too_many

    @rule(wanted=st.frozensets(st.sampled_from(TOPICS)), unknown=st.sampled_from(["nobody", "zzzzzzzz-3", "earliest"]))
    def read_unknown(self, wanted: frozenset[str], unknown: str) -> None:
        self.expire()
        for history in self.histories:
            reader = Reader(unknown, 0, wanted, True, 2)
            self.finish(history, reader)
            assert reader.read == self.after(0, wanted)
            reasons = [gap.reason for gap in reader.gaps]
            assert reasons == {"nobody": ["unknown"], "zzzzzzzz-3": ["restart"], "earliest": []}[unknown]

    @rule(data=st.data(), wanted=st.frozensets(st.sampled_from(TOPICS), min_size=1), limit=st.integers(1, 3))
    def come(self, data: st.DataObject, wanted: frozenset[str], limit: int) -> None:
        """A reader begins, and has all the time of the test."""
        last = self.histories[0].last_sequence
        start = data.draw(st.integers(max(0, last - 8), last))
        exact = data.draw(st.booleans())
        pair = []
        for history in self.histories:
            reader = Reader(history._our_id(start), start, wanted, exact, limit)
            pair.append(reader if history._find(history._our_id(start))[0] else None)
        self.readers.append(pair)  # type: ignore[arg-type]

    @rule(data=st.data())
    def page(self, data: st.DataObject) -> None:
        if self.readers:
            pair = data.draw(st.sampled_from(self.readers))
            for history, reader in zip(self.histories, pair, strict=True):
                if reader is not None:
                    self.turn(history, reader)

    @rule(data=st.data())
    def go_live(self, data: st.DataObject) -> None:
        """He has read everything: each update that was his is with him, or in a gap he was told of."""
        if self.readers:
            pair = self.readers.pop(data.draw(st.integers(0, len(self.readers) - 1)))
            for history, reader in zip(self.histories, pair, strict=True):
                if reader is not None:
                    self.finish(history, reader)
                    self.judge(reader)

    def turn(self, history: MemoryHistory, reader: Reader) -> bool:
        page = history.after(reader.place, reader.wanted, reader.limit)
        self.model.expire(self.clock.seconds()) if not page.more else None
        assert len(page.updates) <= reader.limit
        reader.read += [u.sequence for u in page.updates]
        reader.gaps += [page.gap] if page.gap else []
        reader.place = page.place
        return page.more

    def finish(self, history: MemoryHistory, reader: Reader) -> None:
        while self.turn(history, reader):
            pass
        for other in self.histories:  # expiry of one is the other's too
            while other.expire():
                pass

    def judge(self, reader: Reader) -> None:
        his = [u.sequence for u in self.model.published if u.sequence > reader.start and reader.topics & set(u.topics)]
        assert reader.read == sorted(set(reader.read))
        assert set(reader.read) <= set(his)
        for missing in set(his) - set(reader.read):
            assert any(self.within(missing, gap) for gap in reader.gaps), (missing, reader)

    def within(self, sequence: int, gap: Gap) -> bool:
        assert gap.first_lost is not None
        assert gap.last_lost is not None
        return int(gap.first_lost.rpartition("-")[2]) <= sequence <= int(gap.last_lost.rpartition("-")[2])

    @invariant()
    def held_is_held(self) -> None:
        if not hasattr(self, "histories"):
            return
        for history in self.histories:
            held = sum(u.held_bytes for _, u in history._all.after(0) if u is not None)
            assert history.bounds().held_bytes == held <= self.bounds["max_bytes"]
            assert history.bounds().topics <= self.bounds["max_topics"]
            assert set(history._by_id.values()) <= {u.sequence for _, u in history._all.after(0) if u is not None}
            for log in history._topics.values():
                assert len(log) <= self.bounds["max_topic_updates"]
                assert log.held_bytes <= self.bounds["max_topic_bytes"]
                assert log.held_bytes == sum(u.held_bytes for u in log.after(0))

    def teardown(self) -> None:
        if hasattr(self, "histories"):
            for history in self.histories:
                self.clock.wait(history.close())
            assert self.clock.getDelayedCalls() == []
            self.patch.undo()
            shutil.rmtree(self.folder)


@pytest.mark.slow
@pytest.mark.hypothesis
def test_both_are_as_the_model() -> None:
    run_state_machine_as_test(Histories, settings=settings(stateful_step_count=30))
