"""What was sent here before it was in the one order, and who was sent it: so that nobody is sent it again.

An event to topics went to all who were listening then. So it is enough to know, of those who have begun to listen, or
have turned to the history, since the first such event, when that was; what was directed went to all who were there.
It is forgotten with the last of them.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hardhttp.sse.subscriber import Subscriber

__all__ = ["Early"]

# Of one that turns to the history again and again, what was before so many times is not known any more.
MAX_SPANS = 8


class Early:
    """Events by the number of their post; there are no more of them than the outbox holds."""

    def __init__(self) -> None:
        self._events: dict[int, tuple[int, int]] = {}
        # From after which number to which one each was listening; who is not here, all the time.
        self._heard: dict[Subscriber, list[tuple[int, float]]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def add(self, number: int, sequence: int, begun: int) -> None:
        """The post ``number`` went out as ``sequence``, when so many subscriptions had been asked for."""
        self._events[number] = sequence, begun

    def listened(self, subscriber: Subscriber, sequence: int) -> None:
        """From after ``sequence`` on it is sent what comes."""
        if self._events:
            self._heard[subscriber] = [*self._heard.get(subscriber, ())[-MAX_SPANS:], (sequence, inf)]

    def unlistened(self, subscriber: Subscriber, sequence: int) -> None:
        """It is not any more, or has ended."""
        if subscriber.reason is not None:
            self._heard.pop(subscriber, None)
        elif self._events:
            spans = self._heard.get(subscriber) or [(-1, inf)]
            self._heard[subscriber] = [*spans[:-1], (spans[-1][0], min(sequence, spans[-1][1]))]

    def take(self, number: int, *, directed: bool) -> Callable[[Subscriber], bool] | None:
        """The post comes back: what tells who has had it, or ``None``: nobody."""
        found = self._events.pop(number, None)
        if found is None:
            return None
        sequence, begun = found
        heard = self._heard
        if not self._events:
            self._heard = {}
        if directed:
            return lambda subscriber: subscriber.serial < begun

        def has_had(subscriber: Subscriber) -> bool:
            spans = heard.get(subscriber)
            return spans is None or any(since < sequence <= until for since, until in spans)

        return has_had
