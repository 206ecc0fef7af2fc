"""A start that fails before the reactor runs, told at once.

twistd starts services before its reactor runs, and who cannot start must end with the reason, and with a status that
says so to whoever waits for a daemon. But a port that was opened before another failed is closed in the reactor's
next turn. Those turns are taken here: else nothing would be known yet, and twistd's second call, ``startService``,
would try again and find our own port busy.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

__all__ = ["TURNS", "result_at_once"]

# A port is closed in one turn; what follows on it may take another.
TURNS = 10


def result_at_once(starting: Deferred[Any], failed: Callable[[], bool], reactor: Any) -> list[Any]:
    """A list that holds the result of ``starting`` once there is one, a ``Failure`` too.

    While ``failed`` says that only what had been opened is still to be closed, and the reactor does not run, that
    is done first.
    """
    result: list[Any] = []
    starting.addBoth(result.append)
    turns = TURNS
    while not result and turns and failed() and not reactor.running:
        reactor.runUntilCurrent()
        turns -= 1
    return result
