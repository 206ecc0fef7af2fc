"""The interfaces an application may implement, or be handed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
from twisted.web.resource import IResource
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hardhttp.limits import Limits

__all__ = [
    "OVERHEAD_BYTES",
    "BrokerBounds",
    "BrokerEpoch",
    "BrokerState",
    "Delivery",
    "Everywhere",
    "Gap",
    "HistoryPage",
    "HistoryPlace",
    "IBroker",
    "IBrokerNode",
    "IHistory",
    "IRoutesStreams",
    "ISessionStore",
    "IStreamingResource",
    "Kept",
    "Kind",
    "Losses",
    "Lost",
    "Post",
    "Posted",
    "PresentPage",
    "SessionRecord",
    "SessionTimes",
    "Update",
    "Wanted",
]


class IStreamingResource(IResource):
    """A resource that sees a request's head before its body has come.

    ``render`` is called as soon as the head is complete. The body is not read, and no
    ``100 Continue`` is sent, until the resource calls ``request.deliverBody(protocol)``; then
    ``protocol`` (an ``IProtocol``) gets it as it arrives: ``dataReceived`` for each piece, at last
    ``connectionLost`` with ``ConnectionDone`` when the body was whole and with another reason when
    it was not. Its ``transport`` is an ``IPushProducer``: ``pauseProducing`` stops the client.
    ``request.content`` stays empty. A response finished before the body has ended closes the
    connection, and ``connectionLost`` says so. A body that is not there is whole at once.

    The way to such a resource is found before the body too: each resource on it must either hold
    the next one in ``children``, or provide ``IStreamingResource`` itself.
    """


class IRoutesStreams(IResource):
    """A leaf that knows by a request's head whether one of its handlers takes the body as it comes."""

    def streaming_resource(request: object) -> IStreamingResource | None:
        """What is to be rendered before the body has come, or ``None``: then ``render`` is called after it.

        ``request.prepath`` and ``request.postpath`` are as ``render`` would find them. Must not fail.
        """


@attrs.frozen
class SessionTimes:
    """Seconds since the epoch."""

    created_at: float
    last_accessed_at: float
    expires_at: float


@attrs.frozen
class SessionRecord:
    """A session as a store holds it: the JSON text of each value, by its key."""

    values: dict[str, str] = attrs.field(repr=False)
    times: SessionTimes


class ISessionStore(Interface):
    """Where sessions are kept. Every method returns a ``Deferred``, and none raises.

    ``key`` is the digest of a session's id: no store ever sees an id. Time is the caller's: a store
    reads no clock to tell what has expired. A session is there until ``expires_at``, and at that instant
    it is gone; whether its bytes are still kept shows in ``count`` alone, until the next ``sweep``.

    What a store cannot do (its server is away, its disk is full) fails the Deferred with ``StoreError``,
    soon: no call waits without a bound, and no more calls wait than a bound allows. What failed so may have
    been done all the same, when it was the answer that was lost.

    A store with an attribute ``answers_at_once`` that is true has fired each Deferred when it returns it.
    """

    evicted = Attribute("How many sessions this store has given up so far to stay within the limits.")

    def load(key: bytes, now: float) -> Deferred[SessionRecord | None]:
        """The session, or ``None`` when there is none at ``now``. Not an access: it changes nothing."""

    def save(
        key: bytes, changes: Mapping[str, str | None], times: SessionTimes, limits: Limits, create: bool
    ) -> Deferred[bool]:
        """Merge ``changes`` into the session at once as a whole: a text sets its key, ``None`` removes it.

        Keys not named stay as they are, whoever set them. With ``create`` a session that is not there (at
        ``times.last_accessed_at``) is made, of no changes too; without, ``False`` is the answer and nothing is
        stored: what was abandoned stays gone. ``created_at`` of a session that is there does not change.

        A session that would grow past ``limits.max_session_bytes``, or alone past ``max_sessions_bytes``, is
        left as it was and the Deferred fails with ``SessionTooLargeError``. Past ``max_sessions`` or
        ``max_sessions_bytes`` the sessions whose last access is oldest are given up, this one last, and
        counted in ``evicted``. A session's bytes are its keys' and values' as UTF-8; any text may be stored,
        a lone surrogate (three bytes) too.
        """

    def touch(key: bytes, times: SessionTimes) -> Deferred[bool]:
        """Note an access; ``False`` when there is no such session at ``times.last_accessed_at``."""

    def rename(old: bytes, new: bytes) -> Deferred[bool]:
        """Keep the session under ``new`` and no longer under ``old``; ``False`` when there is none.

        What was under ``new`` before is forgotten.
        """

    def delete(key: bytes) -> Deferred[bool]:
        """Forget the session; whether there was one."""

    def sweep(now: float) -> Deferred[int]:
        """Forget what has expired; how many those were."""

    def count() -> Deferred[int]:
        """How many sessions are kept, those included that have expired since the last ``sweep``."""

    def close() -> Deferred[None]:
        """Write what is not written, and let go of files, threads and connections.

        The store may be used again after that.
        """


# -- what a hub has published -----------------------------------------------------------------

# Why an update is not there: a bound was reached; it grew too old; it went with the process; nobody knows its id.
Lost: TypeAlias = Literal["evicted", "expired", "restart", "unknown"]
# Topics by name, found without looking at any other; or a function of a topic's name, which costs a scan.
Wanted: TypeAlias = "Collection[str] | Callable[[str], bool]"


# What an update costs beside its bytes: the object, its place in the indexes, and NAMES_BYTES of topics, id and key.
OVERHEAD_BYTES = 512
NAMES_BYTES = 256
# What another topic costs beside its name.
PLACE_BYTES = 80


def _text_bytes(text: str) -> int:
    """What a string takes in memory, at most."""
    return len(text) if text.isascii() else 4 * len(text)


@attrs.frozen
class Update:
    """A published event and whom it is for. It is made once; history, queues and topics share the one object.

    ``sequence`` numbers a hub's updates from 1, upwards. ``id`` is what subscribers are told:
    ``epoch-sequence``, or the publisher's own. ``topics`` are the canonical one and its alternates.
    ``key`` names what the update is the latest state of. ``encoded`` is the whole event, its blank line
    included. ``published_at`` is in seconds since the epoch.
    """

    sequence: int
    id: str
    topics: tuple[str, ...]
    private: bool
    key: str | None
    encoded: bytes = attrs.field(repr=False)
    published_at: float

    @property
    def held_bytes(self) -> int:
        """What keeping it is counted as: its bytes, what goes with them, and names that are long or many."""
        names = sum(map(_text_bytes, (self.id, self.key or "", *self.topics))) + (len(self.topics) - 1) * PLACE_BYTES
        return len(self.encoded) + OVERHEAD_BYTES + max(0, names - NAMES_BYTES)


@attrs.frozen
class Gap:
    """Updates that were wanted and are not there.

    They lie from ``first_lost`` to ``last_lost`` (ids of the form ``epoch-sequence``; ``None``: not known);
    others within that range may still be there, and are then delivered. With several reasons, ``reason`` is
    that of the last one lost.
    """

    first_lost: str | None
    last_lost: str | None
    reason: Lost


@attrs.frozen
class HistoryPlace:
    """Where to go on reading, for the history that gave it.

    ``sequence`` is the number of the last update that was read: who has taken less of a page puts a lower one there.
    ``losses`` is the history's own.
    """

    sequence: int
    losses: int


@attrs.frozen
class HistoryPage:
    """Some updates, oldest first.

    ``found`` is whether the id that was asked for is a known place. ``gap`` comes before the updates. With
    ``more``, ask again from ``place``: a page may be short, or empty, and still not the last. Without it,
    everything up to this moment has been read, and ``place`` is its end.
    """

    updates: tuple[Update, ...]
    found: bool
    gap: Gap | None
    place: HistoryPlace
    more: bool


@attrs.frozen
class Kept:
    """What a history keeps: the oldest and the newest id, and how much there is."""

    first_id: str | None
    last_id: str | None
    updates: int
    topics: int
    held_bytes: int


class IHistory(Interface):
    """What has been published, for those who come back. All but ``close`` and ``flush`` answers at once.

    An update is kept with each of its topics. Each topic is bounded in updates, in bytes and in age, and all
    together in bytes and in topics; what a bound costs is the oldest, and of topics the one that has
    been silent longest. Whoever asks from before what was lost is told of a ``Gap``, if one of his
    topics lost something; after a topic itself was forgotten this may be said of one that lost nothing.

    A private update is kept as any other: who may see it is the hub's to tell.
    """

    epoch = Attribute("Eight letters: ``epoch-sequence`` are the ids that this history finds without a search.")
    last_sequence = Attribute("The number of the last update ever appended, or 0; the next one's is higher.")
    last_id = Attribute("The id of the last update ever appended; ``epoch-0`` before the first one.")
    degraded = Attribute("Why updates are kept in memory alone, though they should be on a disk; else ``None``.")

    def append(update: Update) -> None:
        """Keep ``update``. Raises ``ValueError`` when its number is not higher than ``last_sequence``."""

    def after(last: str | HistoryPlace, wanted: Wanted, limit: int) -> HistoryPage:
        """At most ``limit`` updates that came after ``last`` in one of the topics ``wanted``.

        ``last`` is the ``place`` of a page; or an id, ours or a publisher's; or ``earliest`` for all there
        is, which misses nothing. From an id that is not known all there is comes too, after a ``Gap``.
        A call does a bounded amount of work. Updates may be appended between two pages: each is
        delivered once, in order. When what was to come is lost between two pages, a ``Gap`` says so.
        """

    def earliest() -> HistoryPlace:
        """Before all there is now: to read on from there tells of what was lost since, which ``earliest`` does not."""

    def get(event_id: str) -> Update | None:
        """The update with this id (``epoch-sequence`` finds one that has a publisher's id, too)."""

    def expire(most: int = 1000) -> bool:
        """Drop what is too old, at most so many; whether there may be more. To be called now and then."""

    def bounds() -> Kept:
        """What is kept."""

    def flush() -> Deferred[None]:
        """Fires when all that was appended is where it is to be kept, or cannot be."""

    def close() -> Deferred[None]:
        """Write what is not written, and let go of files and threads. Not to be used after that."""


# -- several hubs as one ----------------------------------------------------------------------


class BrokerState(StrEnum):
    """How a node stands with its broker."""

    CONNECTING = "connecting"  # it has never been in touch: what is kept is not known yet
    READY = "ready"
    AWAY = "away"  # it was in touch, and is not now


class Kind(StrEnum):
    """What nodes tell each other."""

    EVENT = "event"  # to topics; ``names`` are these
    USER = "user"  # to the subscribers of a user, of a group, or all; kept for nobody who comes back
    GROUP = "group"
    ALL = "all"
    CLOSE_USER = "close-user"  # close the subscribers of a user; all; or the one of this id
    CLOSE_ALL = "close-all"
    CLOSE = "close"


@attrs.frozen
class Post:
    """What one node has for all nodes.

    ``body`` is the encoded event without its id, and ``id`` the publisher's own. ``node`` and ``number`` say who
    posts, and count what it posts, from 1 upwards. One that is ``resent`` after a failure, until it is done, is
    done once: then each number must follow the one before.
    """

    node: str
    number: int
    kind: Kind
    names: tuple[str, ...]
    body: bytes = attrs.field(default=b"", repr=False)
    id: str | None = None
    private: bool = False
    key: str | None = None
    published_at: float = 0.0
    idempotency_key: str | None = attrs.field(default=None, repr=False)
    resent: bool = False


@attrs.frozen
class Posted:
    """What became of a ``Post``: its number in the one order and its epoch's name; or those of the post that had the
    same idempotency key before, and then ``repeated`` is true. ``sequence`` is 0 for one that was resent and had been
    done: its number comes with its delivery. ``id`` is the publisher's own, if there was one."""

    sequence: int
    epoch: str
    id: str | None = None
    repeated: bool = False


@attrs.frozen
class Delivery:
    """A post in its place in the one order; ``None`` stands for one that this node cannot read."""

    sequence: int
    post: Post | None


@attrs.frozen
class BrokerEpoch:
    """The numbers from ``first`` have ids that begin with ``name``, up to the next epoch's; of them those after
    ``kept`` were lost by the broker (``None``: none that it knows of)."""

    name: str
    first: int
    kept: int | None


@attrs.frozen
class Losses:
    """Up to which number each topic has lost what it had (``""`` stands for what was directed), and
    ``forgotten_to`` for topics of which nothing is kept."""

    forgotten_to: int
    topics: Mapping[str, int]


@attrs.frozen
class Everywhere:
    """All nodes of a broker together, as they last said: a few seconds ago at most, while it is there."""

    nodes: int
    subscribers: int


@attrs.frozen
class PresentPage:
    """Some of those who are present, each with its record. ``place`` is where to go on; ``None`` at the end. Who comes
    or goes between two pages may be among them or not; one may be on two of them."""

    present: Mapping[str, bytes] = attrs.field(repr=False)
    place: object = None


@attrs.frozen
class BrokerBounds:
    """What a broker keeps, and each node with it: updates and bytes of a topic and of all, seconds (``None``: no
    bound), and idempotency keys. An update belongs to the first of its topics. All nodes should have the same.

    A topic's bounds are for what is older than ``read_seconds``: nodes that are behind by less miss nothing in a burst,
    as long as the bounds of all hold it. ``max_present`` and ``max_present_bytes`` are for the records of who is
    present at all nodes. A node that was not in touch for ``lease_seconds`` is taken to be gone."""

    max_topic_updates: int = 1000
    max_topic_bytes: int = 4 << 20
    max_updates: int = 100_000
    max_bytes: int = 64 << 20
    max_age_seconds: float | None = 3600.0
    max_idempotency_keys: int = 10_000
    idempotency_seconds: float = 600.0
    read_seconds: float = 10.0
    max_present: int = 100_000
    max_present_bytes: int = 64 << 20
    lease_seconds: float = 6.0

    def __attrs_post_init__(self) -> None:
        for name, bound in attrs.asdict(self).items():
            if bound is None and name == "max_age_seconds":
                continue
            if not bound > 0 and not (name == "read_seconds" and bound == 0):
                raise ValueError(f"{name} is {bound!r}; it must be more than 0")


class IBrokerNode(Interface):
    """A hub, as its broker sees it. Nothing is called before ``IBroker.start`` has returned, and nothing may raise."""

    name = Attribute("Eight letters that no other node has or had.")
    epoch = Attribute("The epoch of ``last_sequence``; empty before the first ``welcome``.")
    last_sequence = Attribute("The number of the last delivery it was handed; or 0.")
    floor = Attribute("Numbers up to this one are used here already, and must be given to nothing more.")
    subscriber_count = Attribute("How many are subscribed here.")
    tells_presence = Attribute("Whether it can be told of who is ``departed``.")

    def welcome(epochs: Sequence[BrokerEpoch]) -> None:
        """It is in touch (again): the epochs there are, the present one last. Later ones may be new to it: then
        the broker has lost something, or everything."""

    def load(deliveries: Sequence[Delivery]) -> None:
        """What was kept before it came, oldest first: for its history, not for its subscribers."""

    def deliver(deliveries: Sequence[Delivery]) -> None:
        """What comes next, in order, each once."""

    def lost(losses: Losses, to: int) -> None:
        """Some of the numbers after ``last_sequence``, up to ``to``, are there no more: what the broker has lost."""

    def changed(state: BrokerState) -> None:
        """``IBroker.state`` is another one; or it is READY, and who is present here is to be recorded anew."""

    def departed(present: Mapping[str, bytes]) -> Deferred[None]:
        """A node is gone that had recorded these. They are forgotten when the Deferred fires; when it fails they are
        handed out again, to this node or to another."""


class IBroker(Interface):
    """What makes several hubs one: all that is posted by any of them is put in one order and handed to each.

    Each node is handed each post that was done after it came, once, in that one order, its own too; and what the
    bounds keep of what was done before. After an absence it goes on where it was; what was lost in the meantime
    it is told of (``lost``). So all nodes have the same history, and an id that one of them gave is known to
    all. Numbers only grow, also when the broker loses what it had: then a new epoch begins.

    While the broker is away posts fail, at once or within a stated time, and it is tried again without end.
    """

    state = Attribute("A ``BrokerState``.")
    why_away = Attribute("Why it is not ready, in words without secrets; else ``None``.")
    everywhere = Attribute("An ``Everywhere``: what the nodes together have.")
    bounds = Attribute("Its ``BrokerBounds``.")

    def start(node: IBrokerNode) -> None:
        """Be in touch for ``node``, from now until ``close``. Once."""

    def post(post: Post) -> Deferred[Posted]:
        """Put ``post`` in the one order. Fails with ``BrokerAwayError``; it may have been done all the same, when it
        was the answer that was lost. ``IBrokerNode.changed`` says when it is worth trying again: also when ``state``
        was READY all the time."""

    def record(present: Mapping[str, bytes]) -> Deferred[Collection[str] | None]:
        """Keep, for as long as this node is in touch, that these are present here: an id, and a record for who asks.
        What was kept of the same id is replaced. Fires with those of them that were not kept before; with ``None``
        when there is no room within the bounds for all of them, and then nothing has changed. Fails with
        ``BrokerAwayError``, also while others are still being told that this node had gone."""

    def erase(ids: Collection[str]) -> Deferred[None]:
        """These are not present here any more. Fails with ``BrokerAwayError``."""

    def present(word: bytes = b"", id: str | None = None, place: object = None) -> Deferred[PresentPage]:
        """Who is present at any node, from ``place`` on: those whose record has ``word`` in it, and of them only the
        one called ``id`` if that is given. Fails with ``BrokerAwayError``."""

    def close() -> Deferred[None]:
        """Be in touch no more; nothing is delivered from now on. Who is present here is gone then."""
