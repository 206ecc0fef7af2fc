"""What a hub has published and its broker has not confirmed yet.

Everything leaves in order. While the broker is there it leaves at once, and waits here for its answer. When it is away,
``Away`` says what happens:

- ``refuse``: publishing fails, at once; what was on its way fails too, though it may have been done;
- ``queue``: what is published waits, and is sent when the broker is back; what was on its way is sent again, and
  done once;
- ``local``: as ``queue``, and those who are subscribed here are sent it at once, without an id. When it comes back in
  the one order they are passed over. Who reads the history just then may have it twice, and the order here is not
  that of other nodes.

All are bounded, in events and in bytes; past a bound publishing fails as it does for ``refuse``.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from hardhttp.errors import BrokerAwayError
from hardhttp.interfaces import BrokerState, Post, Posted

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from hardhttp.interfaces import IBroker

__all__ = ["Away", "Outbox"]

# What one post is counted as, beside its body.
POST_BYTES = 512


class Away(StrEnum):
    """What becomes of what is published while the broker is away."""

    REFUSE = "refuse"
    QUEUE = "queue"
    LOCAL = "local"


# So many are on their way at a time: a broker that is back is not to be late for the last of all that waited.
MAX_ON_THEIR_WAY = 1000


@attrs.frozen(eq=False)
class _Waiting:
    post: Post
    done: Callable[[Posted | Exception], None]
    size: int


class Outbox:
    """At most ``max_events`` and ``max_bytes`` that are not confirmed (``held_bytes`` are); ``done`` of each is called
    once with what became of it."""

    def __init__(self, broker: IBroker, away: Away, max_events: int, max_bytes: int) -> None:
        self._broker = broker
        self.away = away
        self.max_events, self.max_bytes = max_events, max_bytes
        self._waiting: dict[int, _Waiting] = {}  # by number, which is the order
        self._unsent: dict[int, _Waiting] = {}  # of them
        self._on_their_way = 0
        self._is_closed = self._is_sending = False
        self._is_held = False  # something failed: nothing is sent before what is on its way has come to an end
        self._is_due = False  # and then it is to be resumed
        self.held_bytes = 0
        self.refused = 0

    @property
    def is_closed(self) -> bool:
        return self._is_closed

    def __len__(self) -> int:
        return len(self._waiting)

    def check(self) -> None:
        """Raises ``BrokerAwayError`` where nothing can be published now; ``refused`` is how often it did."""
        try:
            self._check()
        except BrokerAwayError:
            self.refused += 1
            raise

    def _check(self) -> None:
        if self._is_closed:
            raise BrokerAwayError("the hub is closed")
        if self._broker.state is not BrokerState.READY and self.away is Away.REFUSE:
            raise BrokerAwayError(f"the broker is away ({self._broker.why_away})")
        if len(self._waiting) >= self.max_events or self.held_bytes >= self.max_bytes:
            raise BrokerAwayError(
                f"{len(self._waiting)} events of {self.held_bytes} bytes wait for the broker already"
                " (max_unpublished_events, max_unpublished_bytes)"
            )

    def put(self, post: Post, done: Callable[[Posted | Exception], None]) -> None:
        """Bring it to the broker; ``check`` was called before."""
        item = _Waiting(post, done, len(post.body) + POST_BYTES)
        self._waiting[post.number] = self._unsent[post.number] = item
        self.held_bytes += item.size
        self._send()

    def resume(self) -> None:
        """The broker is there: send what waits, when what is on its way has come to an end."""
        self._is_due = self._on_their_way > 0
        if self._is_due or self._broker.state is not BrokerState.READY:
            return
        self._is_held = False
        self._unsent = dict(self._waiting)
        self._send()

    def close(self) -> None:
        """Nothing more is sent; what waits fails."""
        self._is_closed = True
        for item in tuple(self._waiting.values()):
            self._end(item, BrokerAwayError("the hub was closed"))

    def _send(self) -> None:
        if self._is_sending:
            return  # an answer came at once
        self._is_sending = True
        try:
            while self._may_send():
                item = self._unsent.pop(next(iter(self._unsent)))
                self._on_their_way += 1
                self._broker.post(item.post).addCallbacks(
                    self._answered, self._failed, callbackArgs=(item,), errbackArgs=(item,)
                )
        finally:
            self._is_sending = False

    def _may_send(self) -> bool:
        there = not self._is_held and self._broker.state is BrokerState.READY
        return bool(self._unsent) and there and self._on_their_way < MAX_ON_THEIR_WAY

    def _answered(self, posted: Posted, item: _Waiting) -> None:
        self._on_their_way -= 1
        self._end(item, posted)
        self._look()

    def _failed(self, failure: Failure, item: _Waiting) -> None:
        self._on_their_way -= 1
        error = failure.value
        if self.away is not Away.REFUSE and isinstance(error, BrokerAwayError):
            self._is_held = True
        else:
            self._end(item, error if isinstance(error, Exception) else BrokerAwayError("it failed"))
        self._look()

    def _look(self) -> None:
        if self._is_due and not self._on_their_way:
            self.resume()
        else:
            self._send()

    def _end(self, item: _Waiting, became: Posted | Exception) -> None:
        if self._waiting.pop(item.post.number, None) is not None:
            self._unsent.pop(item.post.number, None)
            self.held_bytes -= item.size
            item.done(became)
