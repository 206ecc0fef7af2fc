"""A rig whose tree is a hub, and what its subscribers have got."""

from __future__ import annotations

from typing import Any

from twisted.web.resource import Resource

from hardhttp.limits import Limits
from hardhttp.sse.hub import EventHub
from hardhttp.sse.subscriber import Subscriber
from hardhttp.testing import Peer, Rig
from hardhttp.wire.eventstream import Event, Parser
from tests.web.saying import say

__all__ = ["Hub", "Subscribes", "body", "data_of", "empty", "events"]


class Subscribes(Resource):
    """``?topic=a&topic=b`` subscribes to these; ``user``, ``group`` and ``allowed`` likewise."""

    isLeaf = True

    def __init__(self, hub: EventHub) -> None:
        super().__init__()
        self.hub = hub

    def render_GET(self, request: Any) -> Any:
        def asked(name: bytes) -> list[str]:
            return [value.decode() for value in request.args.get(name, ())]

        last = request.getHeader(b"last-event-id")
        return self.hub.subscribe(
            request,
            asked(b"topic") or ["t"],
            last_event_id=None if last is None else last.decode(),
            user=next(iter(asked(b"user")), None),
            groups=asked(b"group"),
            allowed=asked(b"allowed"),
        )


class Hub:
    """A rig with a hub. At its end nobody is subscribed, and the hub holds nothing."""

    def __init__(self, *, limits: Limits | None = None, history: Any = None, **options: Any) -> None:
        self.rig = Rig(Resource(), limits=limits)
        made = history(self.rig.clock) if history is not None else None
        self.hub = EventHub(self.rig.clock, history=made, **options)
        self.rig.site.resource = Subscribes(self.hub)
        self.told: list[tuple[Subscriber, Any]] = []
        self.hub.on_close(lambda subscriber, reason: self.told.append((subscriber, reason)))

    def subscribe(self, query: str = "", **headers: bytes) -> Peer:
        peer = self.rig.connect()
        peer.send(say(target=b"/?" + query.encode(), **headers))
        return peer

    @property
    def newest(self) -> Subscriber:
        return self.hub.subscribers()[-1]

    @property
    def reasons(self) -> list[str]:
        return [str(reason) for _, reason in self.told]

    def __enter__(self) -> Hub:
        self.rig.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self.rig.__exit__(*raised)
        if raised[0] is None:
            empty(self.hub)
            assert len({subscriber for subscriber, _ in self.told}) == len(self.told)  # each once


def empty(hub: EventHub) -> None:
    """Nothing of anyone is left."""
    assert (hub.subscriber_count, hub.queued_bytes, hub.user_count) == (0, 0, 0)
    left = (hub.waiting, hub._people.groups, hub._wheel, hub._wheel._slots, hub._index, hub._leaving._waiting)
    fan_out = hub._fan_out
    assert not any(map(len, (*left, fan_out._batches, fan_out._due, fan_out._replays)))


def body(peer: Peer) -> bytes:
    """What a subscriber has got so far, without the framing."""
    _, _, rest = peer.received.partition(b"\r\n\r\n")
    pieces = []
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        pieces.append(rest[: int(size, 16)])
        rest = rest[int(size, 16) + 2 :]
    return b"".join(pieces)


def events(peer: Peer) -> list[Event]:
    """The events it has got."""
    return Parser().feed(body(peer))


def data_of(peer: Peer) -> list[str]:
    """Their data."""
    return [event.data for event in events(peer)]
