"""What ``explain`` says against what was written: by Hypothesis, over whatever may happen at a hub.

Subscribers come (some with a last id, some with claims, users and groups), stop taking and go on, fail, and end;
events are published to topics, private ones too, to users, groups and all, also while a subscriber is being
admitted. The fan-out serves one subscriber a slice, and the history has pages of two, so that each step is seen
from the middle of every other. After each step every verdict is compared with what has been written.
"""

from __future__ import annotations

from typing import Any

import attrs
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.web.http_headers import Headers

from hardhttp.errors import HTTPError
from hardhttp.sse import fanout as fanout_module
from hardhttp.sse import subscriber as subscriber_module
from hardhttp.sse.explain import Explanation, Outcome
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.hub import EventHub
from hardhttp.sse.notes import Loss
from hardhttp.sse.subscriber import Subscriber
from hardhttp.sse.topics import matches
from hardhttp.wire.eventstream import Parser
from tests.sse.subscribing import empty

TURN_SECONDS = 0.0001
TOPICS = ["a", "b", "c/1"]
SELECTORS = ["a", "b", "c/{n}", "*"]
USERS = [None, "ann", "bob"]
GROUPS = ["g", "h"]
NEWEST = 6  # events that are compared after each step
UNSURE = {Outcome.FORGOTTEN, Outcome.UNKNOWN_EVENT, Outcome.UNKNOWN_SUBSCRIBER}
MISSED = {Outcome.WAITING, Outcome.DROPPED, Outcome.BEFORE}


class Turning:
    """A clock on which each look is later than the one before, and takes a slice."""

    def __init__(self) -> None:
        self.clock, self.looks = Clock(), 0

    def seconds(self) -> float:
        self.looks += 1
        return self.now

    @property
    def now(self) -> float:
        return float(self.clock.seconds() + self.looks * 0.003)

    def callLater(self, delay: float, *args: Any) -> Any:
        return self.clock.callLater(max(delay, TURN_SECONDS), *args)


class Client:
    """A request that keeps what is written to it, and when; and what is known of its subscription."""

    method, channel = b"GET", None

    def __init__(self, clock: Turning, patience: int) -> None:
        self.clock, self.patience = clock, patience
        self.written: dict[str, float] = {}  # the data of each event
        self.gaps = 0
        self.broken = False
        self.finishing: Deferred[None] | None = Deferred()
        self.producer: Any = None
        self.subscriber: Any = None
        self.topics: list[str] = []
        self.allowed: list[str] = []
        self.came = self.ended = 0  # after so many events
        self.asked: str | None = None
        self.responseHeaders = Headers()

    def getHeader(self, name: bytes) -> None: ...

    def setHeader(self, name: bytes, value: bytes) -> None: ...

    def notifyFinish(self) -> Deferred[None]:
        assert self.finishing is not None
        return self.finishing

    def write(self, data: bytes) -> None:
        if self.broken:
            raise LookupError("of a client")
        for event in Parser().feed(data):
            if event.type == "gap":
                self.gaps += 1
            else:
                assert event.data not in self.written
                self.written[event.data] = self.clock.now
        self.patience -= 1
        if not self.patience and self.producer is not None:
            self.producer.pauseProducing()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def finish(self) -> None:
        self.end(None)

    def abortConnection(self) -> None:
        self.end(ConnectionError())

    @property
    def transport(self) -> Client:
        return self

    def end(self, failure: Exception | None) -> None:
        finishing, self.finishing = self.finishing, None
        if finishing is not None and failure is None:
            finishing.callback(None)
        elif finishing is not None:
            finishing.errback(failure)  # type: ignore[arg-type]


@attrs.frozen
class Sent:
    """An event: its number among all, and for whom it was."""

    number: int
    id: str
    topics: list[str]
    private: bool
    members: frozenset[Any] | None  # of a directed one, by user or group, when it was published
    admitting: Any  # who was being admitted


class Explaining(RuleBasedStateMachine):
    bounds: dict[str, int] = {}

    @initialize(
        policies=st.fixed_dictionaries(
            {topic: st.sampled_from(["close", "drop-oldest", "latest", "pause"]) for topic in TOPICS}
        ),
        queued=st.sampled_from([2, 4]),
        kept=st.sampled_from([2, 5, 1000]),
        history=st.booleans(),
    )
    def begin(self, policies: dict[str, str], queued: int, kept: int, history: bool) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(Subscriber, "__hash__", lambda subscriber: subscriber.serial)  # the same turns each time
        self.patch.setattr(fanout_module, "LOOK_EVERY", 1)
        self.patch.setattr(fanout_module, "MAX_BATCH_BYTES", 150)
        self.patch.setattr(subscriber_module, "PAGE_EVENTS", 2)
        self.patch.setattr(subscriber_module, "WRITE_BYTES", 80)
        self.clock = Turning()
        clock: Any = self.clock
        self.hub = EventHub(
            clock,
            history=MemoryHistory(clock, max_topic_updates=kept) if history else None,
            heartbeat_seconds=None,
            max_queued_events=queued,
            policies={
                topic: "close" if policy == "pause" and not history else policy for topic, policy in policies.items()
            },
            policy="drop-oldest",
            retry_seconds=None,
            **self.bounds,
        )
        self.hub._ticking.clock = self.clock.clock
        self.hub.seconds = self.hub.journal._seconds = lambda: self.clock.now  # to note something takes no time
        self.hub.on_connect(self.admitted)
        self.hub.on_close(self.closed)
        self.hub._failed = self.fail  # type: ignore[method-assign] # as it is, without a line in the log
        self.hub._fan_out._failed = self.fail
        self.clients: list[Client] = []
        self.sent: list[Sent] = []
        self.waited: set[tuple[int, int]] = set()  # what was said to be on its way: of which client, which event
        self.coming: Client | None = None
        self.within: str | None = None

    def fail(self, subscriber: Subscriber) -> None:
        from hardhttp.sse.subscriber import Ended

        self.hub._abort(subscriber, Ended.FAILED)

    def closed(self, subscriber: Subscriber, reason: Any) -> None:
        client = next(client for client in self.clients if client.subscriber is subscriber)
        client.ended = len(self.sent)
        if client.ended % 3 == 0:
            self.publish([TOPICS[client.ended % len(TOPICS)]], False, None, False)

    # -- coming -------------------------------------------------------------------------------

    @rule(
        topics=st.lists(st.sampled_from(SELECTORS), min_size=1, max_size=2, unique=True),
        allowed=st.lists(st.sampled_from(SELECTORS), max_size=1),
        user=st.sampled_from(USERS),
        groups=st.lists(st.sampled_from(GROUPS), max_size=1),
        back=st.sampled_from([None, "earliest", "unknown", 1, 3, 8]),
        patience=st.sampled_from([0, 1, 2, 3]),
        within=st.sampled_from([None, None, "topic", "user", "group", "bind", "all", "refuse"]),
    )
    def come(
        self, topics: Any, allowed: Any, user: Any, groups: Any, back: Any, patience: int, within: str | None
    ) -> None:
        client = Client(self.clock, patience)
        client.topics, client.allowed, client.came = topics, allowed, len(self.sent)
        known = [sent.id for sent in self.sent if sent.members is None]
        client.asked = (known[-back] if len(known) >= back else None) if isinstance(back, int) else back
        self.coming, self.within = client, within
        try:
            self.hub.subscribe(client, topics, last_event_id=client.asked, user=user, groups=groups, allowed=allowed)
        except HTTPError:
            assert within == "refuse"
        self.coming = None

    def admitted(self, subscriber: Subscriber) -> bool:
        client, within = self.coming, self.within
        assert client is not None
        if within == "refuse":
            self.publish(["a"], False, None, False)
            return False
        client.subscriber = subscriber
        self.clients.append(client)
        if within == "topic":
            self.publish([TOPICS[len(self.sent) % 3]], False, None, False)
        elif within == "user" and subscriber.user is not None:
            self.to_user(subscriber.user)
        elif within == "group":
            self.hub.join(subscriber, "g")
            self.to_group("g")
        elif within == "bind":
            self.hub.bind_user(subscriber, "ann")
            self.to_user("ann")
            self.hub.bind_user(subscriber, "bob")
            self.to_user("ann")
        elif within == "all":
            self.to_all()
        return True

    # -- publishing ---------------------------------------------------------------------------

    def note(self, topics: list[str], private: bool, members: frozenset[Any] | None, send: Any) -> None:
        number = len(self.sent)
        self.sent.append(
            Sent(number, "", topics, private, members, None if self.coming is None else self.coming.subscriber)
        )
        receipt = send(str(number))
        self.sent[number] = attrs.evolve(self.sent[number], id=receipt.id)

    @rule(
        topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=2, unique=True),
        private=st.booleans(),
        key=st.sampled_from([None, "k"]),
        own=st.booleans(),
    )
    def publish(self, topics: list[str], private: bool, key: str | None, own: bool) -> None:
        id = f"own-{len(self.sent)}" if own else None
        self.note(topics, private, None, lambda data: self.hub.publish(topics, data, private=private, key=key, id=id))

    @rule(count=st.integers(2, 6), topic=st.sampled_from(TOPICS))
    def publish_many(self, count: int, topic: str) -> None:
        for _ in range(count):
            self.publish([topic], False, None, False)

    @rule(user=st.sampled_from(["ann", "bob"]))
    def to_user(self, user: str) -> None:
        members = frozenset(client.subscriber for client in self.clients if client.subscriber.user == user)
        self.note([], False, members, lambda data: self.hub.to_user(user, data))

    @rule(group=st.sampled_from(GROUPS))
    def to_group(self, group: str) -> None:
        members = frozenset(client.subscriber for client in self.clients if group in client.subscriber.groups)
        self.note([], False, members, lambda data: self.hub.to_group(group, data))

    @rule()
    def to_all(self) -> None:
        members = frozenset(client.subscriber for client in self.clients)
        self.note(["all"], False, members, lambda data: self.hub.to_all(data))

    # -- whatever else happens ----------------------------------------------------------------

    @property
    def here(self) -> list[Client]:
        return [client for client in self.clients if client.subscriber.is_open]

    def one(self, data: Any) -> Client:
        return data.draw(st.sampled_from(self.here))  # type: ignore[no-any-return]

    @precondition(lambda self: self.here)
    @rule(data=st.data())
    def stop(self, data: Any) -> None:
        self.one(data).subscriber.pauseProducing()

    @precondition(lambda self: self.here)
    @rule(data=st.data(), patience=st.sampled_from([0, 1, 2]))
    def go_on(self, data: Any, patience: int) -> None:
        client = self.one(data)
        client.patience = patience
        client.subscriber.resumeProducing()

    @precondition(lambda self: self.here)
    @rule(data=st.data(), user=st.sampled_from(USERS), group=st.sampled_from(GROUPS))
    def rebind(self, data: Any, user: str | None, group: str) -> None:
        subscriber = self.one(data).subscriber
        self.hub.bind_user(subscriber, user)
        (self.hub.leave if group in subscriber.groups else self.hub.join)(subscriber, group)

    @precondition(lambda self: len(self.here) > 1)
    @rule(data=st.data(), how=st.sampled_from(["close", "abort", "break"]))
    def end(self, data: Any, how: str) -> None:
        client = self.one(data)
        if how == "break":
            client.broken = True
        elif how == "close":
            self.hub.close(client.subscriber)
        else:
            client.abortConnection()

    @rule(turns=st.integers(1, 5))
    def turn(self, turns: int) -> None:
        for _ in range(turns):
            self.clock.clock.advance(TURN_SECONDS)

    # -- what is held -------------------------------------------------------------------------

    @invariant()
    def verdicts_are_true(self) -> None:
        """Of the newest events after each step, and of all at the end."""
        if hasattr(self, "hub"):
            self.compare(self.sent[-NEWEST:])

    def compare(self, events: list[Sent]) -> None:
        for client in self.clients:
            for sent in events:
                asked = client.subscriber if sent.number % 2 else client.subscriber.id
                self.check(client, sent, self.hub.explain(sent.id, asked))

    def check(self, client: Client, sent: Sent, found: Explanation) -> None:
        outcome, data = found.outcome, str(sent.number)
        if outcome in UNSURE and self.bounds:
            return
        if data in client.written:
            assert outcome is Outcome.SENT, (sent, found)
            assert found.earliest is not None
            latest = self.clock.now if found.latest is None else found.latest
            assert found.earliest <= client.written[data] <= latest, (sent, found)
            return
        subscriber, which = client.subscriber, (self.clients.index(client), sent.number)
        asked_for = self.asked_for(client, sent)
        if not asked_for:
            refused = sent.private and any(matches(s, t) for s in client.topics for t in sent.topics)
            ended = not subscriber.is_open and sent.number >= client.ended and sent.members is not None
            expected = {Outcome.NOT_AUTHORISED} if refused else {Outcome.NOT_MATCHED}
            # Of one that is directed it is the user at its time that counts, if it was there at its time.
            assert outcome in (
                expected | ({Outcome.AFTER_END, Outcome.BEFORE} if sent.members is not None else set())
            ), (sent, found, ended)
        elif not subscriber.is_open and sent.number >= client.ended:
            assert outcome is Outcome.AFTER_END, (sent, found)
        else:
            assert outcome in MISSED, (sent, found)
            self.check_missed(client, sent, found)
        if outcome is Outcome.WAITING:
            self.waited.add(which)
        elif which in self.waited:  # what was to come has come, or was lost, maybe before it could be asked for
            early = sent.number < client.came or sent.admitting is subscriber
            before = client.asked is not None and early
            assert outcome is Outcome.DROPPED or (before and outcome is Outcome.BEFORE), (sent, found)

    def check_missed(self, client: Client, sent: Sent, found: Explanation) -> None:
        subscriber = client.subscriber
        was_there = sent.number >= client.came and (
            sent.admitting is not subscriber or subscriber in (sent.members or ())
        )
        if found.outcome is Outcome.BEFORE:
            assert not was_there or sent.admitting is subscriber, (sent, found)
        elif found.outcome is Outcome.WAITING:
            assert subscriber.is_open, (sent, found)
            assert was_there or client.asked is not None or sent.admitting is subscriber, (sent, found)
        elif found.loss is Loss.ENDED:
            assert not subscriber.is_open, (sent, found)
            assert found.reason == subscriber.reason
        else:
            assert found.loss in (Loss.OVERFLOW, Loss.REPLACED, Loss.HISTORY)
            if found.loss is Loss.HISTORY:
                assert self.hub.history is not None
                assert sent.members is None

    def asked_for(self, client: Client, sent: Sent) -> bool:
        if sent.members is not None:
            return client.subscriber in sent.members or sent.topics == ["all"]
        matched = any(matches(s, t) for s in client.topics for t in sent.topics)
        return matched and (not sent.private or any(matches(s, t) for s in client.allowed for t in sent.topics))

    def teardown(self) -> None:
        if not hasattr(self, "hub"):
            return
        for _ in range(3):  # a wait that another one's turn has begun
            for client in self.here:
                client.patience, client.broken = 0, False
                client.subscriber.resumeProducing()
            while self.hub._fan_out._turn is not None:
                self.clock.clock.advance(TURN_SECONDS)
        for client in self.here:
            for sent in self.sent:
                found = self.hub.explain(sent.id, client.subscriber)
                assert found.outcome is not Outcome.WAITING, (sent, found, client.subscriber)
        self.compare(self.sent)
        self.hub.close_all()
        while self.hub._fan_out._turn is not None:
            self.clock.clock.advance(TURN_SECONDS)
        self.compare(self.sent)
        empty(self.hub)
        assert self.clock.clock.getDelayedCalls() == []
        self.patch.undo()


class ExplainingLittle(Explaining):
    """The same where little is remembered: what is not forgotten is as true."""

    bounds = {
        "max_explained_events": 12,
        "max_explained_subscribers": 2,
        "max_explained_exceptions": 6,
        "max_explained_bytes": 100,
    }


@pytest.mark.slow
@pytest.mark.hypothesis
@pytest.mark.parametrize("machine", [Explaining, ExplainingLittle])
def test_verdicts_are_true(machine: Any) -> None:
    run_state_machine_as_test(machine, settings=settings(stateful_step_count=30))
