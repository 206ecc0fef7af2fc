"""The server stops: its subscribers leave one after another, over half of the time a drain may take.

So they do not all come back at once to whatever serves them next; the other half is for what they are
still to be sent.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IDelayedCall, IReactorTime

if TYPE_CHECKING:
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["Leaving"]

STEP_SECONDS = 0.02
SHARE = 0.5


class Leaving:
    """``go`` is called with each, when its turn comes."""

    def __init__(self, clock: IReactorTime, go: Callable[[Subscriber], object]) -> None:
        self._clock = clock
        self._go = go
        self._waiting: OrderedDict[Subscriber, None] = OrderedDict()
        self._call: IDelayedCall | None = None
        self._until = 0.0

    def add(self, subscriber: Subscriber, drain_seconds: float) -> None:
        """Within ``drain_seconds`` it must be gone."""
        self._waiting[subscriber] = None
        if self._call is None:
            self._until = self._clock.seconds() + drain_seconds * SHARE
            self._call = self._clock.callLater(0, self._step)

    def drop(self, subscriber: Subscriber) -> None:
        """It has gone."""
        self._waiting.pop(subscriber, None)
        if not self._waiting and self._call is not None:
            self._call.cancel()
            self._call = None

    def _step(self) -> None:
        steps = max(1, math.ceil((self._until - self._clock.seconds()) / STEP_SECONDS))
        count = math.ceil(len(self._waiting) / steps)
        self._call = None
        for _ in range(min(count, len(self._waiting))):
            if self._waiting:
                self._go(self._waiting.popitem(last=False)[0])
        if self._waiting:
            self._call = self._clock.callLater(STEP_SECONDS, self._step)
