"""Pushes: what a connection has promised its client, and the streams that keep the promises (RFC 9113, 8.4).

A promise goes out before the response that speaks of it, so that the client does not ask by itself meanwhile. What was
promised is asked for once the application that hinted has returned: it is a request like any other, to the same site,
on a stream of its own, under the same limits and deadlines. ``Promises`` is made with the first one.

A push costs us more than it costs the client, so there are bounds beside the client's own (``max_pushes`` at once;
each target once a connection, ``MAX_REMEMBERED`` of them), and whoever resets ``MAX_REFUSED`` gets no more. Nothing is
pushed to a trusted proxy, whose connection is for many: a promise says nothing of whom it is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from h2.exceptions import ProtocolError

from hardhttp.errors import Fault, Reason
from hardhttp.net.stream2 import Stream
from hardhttp.net.streamoutput import Said
from hardhttp.wire.http2 import ErrorCodes, StreamFault
from hardhttp.wire.http2head import StreamHead, request_head
from hardhttp.wire.links import Link
from hardhttp.wire.promise import (
    MAX_PROMISE_BYTES,
    list_bytes,
    may_be_pushed,
    promise_frame,
    promised_fields,
    request_block,
)
from hardhttp.wire.push import Push, pushes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hardhttp.net.channel2 import Channel2

__all__ = ["MAX_REFUSED", "MAX_REMEMBERED", "Promises", "PushedStream"]

# What a client has been promised it has, or did not want. Apache's diary has as many places.
MAX_REMEMBERED = 256
# A client that cancels pushes has the files already; so it will have the next ones.
MAX_REFUSED = 8


class PushedStream(Stream):
    """The stream of a promise. Its request is ours, and its response is for anybody, or there is none."""

    __slots__ = ("_asks",)

    is_pushed = True

    def __init__(self, connection: Channel2, number: int, window: Any, asks: StreamHead) -> None:
        super().__init__(connection, number, window)
        self._asks: StreamHead | None = asks

    def go_on(self, connection: Channel2) -> None:
        """Ask for what was promised; or end, where the answer was not fit."""
        asks, self._asks = self._asks, None
        if self.said is Said.ALL:
            self.abort(Reason.APPLICATION, ErrorCodes.CANCEL)
        elif asks is not None and self.base is not None:
            connection.hand(self, asks, ended=True)

    def push(self, links: Iterable[Link]) -> None:
        """Nothing: a promise is never the cause of another."""

    def send_informational(self, status: int, fields: Mapping[bytes, Iterable[bytes]] | None = None) -> None:
        """Nothing: nobody waits for it."""

    def respond(self, block: bytes, body: bytes) -> None:
        """The response, where it may be pushed; else the client will ask by itself, and get its own."""
        connection = self._connection
        if connection is None or self.said is not Said.NOTHING:
            return
        if may_be_pushed(block):
            super().respond(block, body)
        else:
            self.said = Said.ALL
            connection.cancel(self.number)

    def send_head(self, block: bytes) -> None:
        connection = self._connection
        if connection is None or self.said is not Said.NOTHING:
            return
        if may_be_pushed(block):
            super().send_head(block)
        else:
            self.said = Said.ALL  # whoever writes learns of it when he has returned
            connection.go_on_with(self)


class Promises:
    """The pushes of one connection. ``due`` are streams that have something to do soon."""

    __slots__ = ("_made", "due", "refused")

    def __init__(self) -> None:
        self._made: set[int] = set()
        self.due: deque[PushedStream] = deque()
        self.refused = 0  # resets of pushes by the client

    def make(self, connection: Channel2, parent: Stream, links: Iterable[Link]) -> None:
        """Promise what is behind ``links``, as far as the client takes it, with the response on ``parent``."""
        server, head = connection.server, parent.head
        settings = connection.wire.remote_settings
        room = min(server.limits.max_pushes, settings.max_concurrent_streams) - connection.push_count
        if head is None or head.authority is None or self.refused >= MAX_REFUSED or server.trusts(parent.getPeer()):
            return
        scheme, authority = b"https" if parent.isSecure() else b"http", head.authority
        for push in pushes(
            links, method=head.method, scheme=scheme, authority=authority, target=head.target, fields=head.fields
        ):
            key = hash((authority.lower(), push.target))
            if room <= 0 or len(self._made) >= MAX_REMEMBERED:
                return
            if key not in self._made and self._promise(connection, parent, push, scheme, authority):
                self._made.add(key)
                room -= 1

    def _promise(self, connection: Channel2, parent: Stream, push: Push, scheme: bytes, authority: bytes) -> bool:
        """Whether it was promised."""
        fields = promised_fields(push, scheme, authority)
        block, most = request_block(fields), connection.wire.remote_settings.max_header_list_size
        if len(block) >= MAX_PROMISE_BYTES or (most is not None and list_bytes(fields) > most):
            return False
        try:
            asks = request_head(fields, True, connection.server.limits)
            number = connection.reserve(parent.number)
        except (StreamFault, Fault, ProtocolError):
            return False
        connection.put(promise_frame(parent.number, number, connection.first_block(block)))
        stream = PushedStream(connection, number, connection.wire.streams[number], asks)
        connection.opened(stream)
        self.due.append(stream)
        connection.server.statistics.pushes += 1
        return True

    def go_on(self, connection: Channel2) -> None:
        while self.due:
            self.due.popleft().go_on(connection)
