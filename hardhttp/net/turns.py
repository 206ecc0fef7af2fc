"""Whose turn it is to send, of the streams of a connection that have something to send.

Those whose client has said nothing take turns, a frame each, round and round. Where it has said what it wants first
(RFC 9218), the more urgent go before all others, and among those of one urgency a response that is of use only whole
is sent to its end before the next. Who waits for ever so is the client's choice: what waits is bounded, and while
the connection sends no stream of it is too slow.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from hardhttp.wire.priority import USUAL_URGENCY

if TYPE_CHECKING:
    from hardhttp.net.streamoutput import StreamOutput

__all__ = ["Turns"]


class Turns:
    """Streams, each at most once. Those of the usual urgency are in ``usual``."""

    __slots__ = ("_ranked", "usual")

    def __init__(self) -> None:
        self.usual: deque[StreamOutput] = deque()
        self._ranked: dict[int, deque[StreamOutput]] | None = None  # all, by urgency, once somebody has another

    def add(self, stream: StreamOutput) -> None:
        priority = stream.priority
        if priority is None or priority.urgency == USUAL_URGENCY:
            self.usual.append(stream)
            return
        if self._ranked is None:
            self._ranked = {USUAL_URGENCY: self.usual}
        self._ranked.setdefault(priority.urgency, deque()).append(stream)

    def in_order(self) -> Iterable[deque[StreamOutput]]:
        """The queues, the most urgent first."""
        ranked = self._ranked
        return (self.usual,) if ranked is None else [ranked[urgency] for urgency in sorted(ranked)]

    def move(self, stream: StreamOutput) -> None:
        """The client wants ``stream`` sooner or later than before."""
        for queue in self.in_order():
            if stream in queue:
                queue.remove(stream)
                self.add(stream)
                return

    def discard(self, stream: StreamOutput) -> None:
        """``stream`` has ended. Where all have turns it is passed over soon; behind more urgent ones it might stay."""
        for queue in self.in_order() if self._ranked is not None else ():
            if stream in queue:
                queue.remove(stream)
                return

    def __bool__(self) -> bool:
        return bool(self.usual) or (self._ranked is not None and any(self._ranked.values()))

    def clear(self) -> None:
        self.usual.clear()
        self._ranked = None
