"""A hub's events over WebSocket, for clients that like that better than an event stream.

A subscriber does not know the difference: where its request would stand, there is something that takes what is
written for it and sends it on a socket. So history, policies, lag, groups, drain and the reasons of ends are those of
``hardhttp.sse.hub``, by the same code, and fan-out goes by the same slices.

Each event is one text message, a JSON object: ``{"event": "message", "data": "...", "id": "..."}``, where ``data`` is
text, as an EventSource would give it, and ``id`` is left out where there is none. The first message may be
``{"retry": milliseconds}``: how long to wait before coming back. A comment is nobody's message; pings keep the
connection open. What is sent to many is made once. A client sends nothing: what it sends closes its socket (1003).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.web.http_headers import Headers

from hardhttp.sse.hub import EventHub
from hardhttp.web.opensocket import Application, WebSocket
from hardhttp.web.websocket import WebSocketResource
from hardhttp.wire.eventstream import Parser
from hardhttp.wire.websocket import Message, encode
from hardhttp.wire.websockethandshake import Handshake

__all__ = ["EventSockets", "Way", "by_query"]

UNSUPPORTED_DATA = 1003
GOING_AWAY = 1001
NORMAL = 1000


def by_query(request: Any) -> dict[str, Any]:
    """What a query asks for: ``?topic=a&topic=b&lastEventID=id``. No browser's WebSocket can send a header."""
    topics = [topic.decode("utf-8", "replace") for topic in request.args.get(b"topic", ())]
    last = request.args.get(b"lastEventID")
    return {"topics": topics, "last_event_id": last[-1].decode("utf-8", "replace") if last else None}


class EventSockets(WebSocketResource):
    """Opens WebSockets that are subscriptions of ``hub``.

    ``wants(request)`` says to what: a mapping of what ``EventHub.subscribe`` takes, ``topics`` among it. By default
    the query does, and anybody may have any public event. ``admit``, ``subprotocols`` and ``origins`` are those of
    ``WebSocketResource``. Where the hub has no room, or an ``on_connect`` of its refuses, the handshake is answered
    so (503, 403).
    """

    def __init__(
        self,
        hub: EventHub,
        wants: Callable[[Any], Mapping[str, Any]] = by_query,
        *,
        admit: Callable[[Any], Any] | None = None,
        subprotocols: Iterable[str] = (),
        origins: Iterable[str] = (),
    ) -> None:
        super().__init__(on_message=_refuse, admit=admit, subprotocols=subprotocols, origins=origins)
        self._hub = hub
        self._wants = wants
        self._last = b"", b""  # what was written last, and its messages

    def begin(self, request: Any, handshake: Handshake) -> None:
        self.subscribe(request, Way(self, request, handshake))

    def subscribe(self, request: Any, way: Way) -> None:
        """Subscribe ``way``, which stands for a request, to what ``request`` asks for. May raise ``HTTPError``."""
        self._hub.subscribe(way, **self._wants(request))

    def messages(self, events: bytes) -> bytes:
        """The frames of ``events``, whole ones of a stream."""
        written, frames = self._last
        if events is not written:
            frames = _messages(events)
            self._last = events, frames
        return frames


def _messages(events: bytes) -> bytes:
    size = len(events)
    parser = Parser(max_line_bytes=size, max_event_bytes=size)
    frames = []
    for event in parser.feed(events):
        said = {"event": event.type, "data": event.data}
        frames.append(encode(json.dumps({**said, "id": event.id} if event.id else said, ensure_ascii=False)))
    if not frames and parser.retry_ms is not None:
        frames.append(encode(json.dumps({"retry": parser.retry_ms})))
    return b"".join(frames)


def _refuse(socket: WebSocket, message: Message) -> None:
    socket.close(UNSUPPORTED_DATA, "this socket only sends")


class Way:
    """Stands where a subscriber's request would: what is written to it goes out as messages.

    The handshake is accepted with the first thing written, when nothing can refuse it any more.
    """

    method = b"GET"
    transport = None

    def __init__(self, resource: EventSockets, request: Any, handshake: Handshake) -> None:
        self._resource = resource
        self._request = request
        self._handshake = handshake
        self._socket: WebSocket | None = None
        self._ends: Deferred[None] | None = None
        self._drained: Callable[[], object] | None = None
        self.site = request.site
        self.responseHeaders = Headers()
        self.uri, self.path, self.args = request.uri, request.path, request.args

    # -- the subscriber's side: as much of a request as it uses -------------------------------------

    def getHeader(self, name: bytes) -> bytes | None:
        return None if name.lower() in (b"accept", b"accept-encoding") else self._request.getHeader(name)

    def setHeader(self, name: bytes, value: bytes) -> None:
        self.responseHeaders.setRawHeaders(name, [value])

    def notifyFinish(self) -> Deferred[None]:
        self._ends = Deferred()
        return self._ends

    def write(self, events: bytes) -> None:
        if self._socket is None:
            self._open()
        if self._socket is not None and (frames := self._resource.messages(events)):
            self._socket.send_encoded(frames)

    def registerProducer(self, subscriber: Any, streaming: bool) -> None:
        self._drained = subscriber.drained
        if self._socket is not None:
            self._socket.follower = subscriber
            if self._socket.waits:
                subscriber.pauseProducing()

    def unregisterProducer(self) -> None:
        if self._socket is not None:
            self._socket.follower = None

    def finish(self) -> None:
        if self._socket is not None:
            self._socket.close(GOING_AWAY if self.site.server.draining else NORMAL)

    def count_past(self, data_bytes: int, framed_bytes: int) -> None:
        """Nothing goes past it."""

    @property
    def channel(self) -> Any:
        return self

    @property
    def base(self) -> Any:
        """The transport that owns the socket."""
        return getattr(self._request.channel, "base", None)

    def abortConnection(self) -> None:
        if self._socket is not None:
            self._socket.abort()

    # -- the socket's side ------------------------------------------------------------------------

    def _open(self) -> None:
        application = Application(None, _refuse, self._closed, self._drain)
        last = self.responseHeaders.getRawHeaders(b"Last-Event-ID")
        if last:
            self._request.setHeader(b"Last-Event-ID", last[0])
        self._socket = self._resource.start(self._request, self._handshake, application)

    def _drain(self) -> None:
        """The server stops: the hub's subscribers leave one after another."""
        if self._drained is not None:
            self._drained()

    def _closed(self, socket: WebSocket) -> None:
        self._drained = self._socket = None
        self._resource.ended(socket)
        ends, self._ends = self._ends, None
        if ends is not None:
            ends.callback(None)
