"""Which of several processes takes the next connection, where all accept from one socket.

The kernel wakes all of them, and whoever is first takes as much as there is: of 50 connections that come at once one of
two processes has been seen to take 49. For requests on their way in and out that is as good as any; connections that
stay (keep-alive, events, WebSocket) stay uneven. A socket for each process (SO_REUSEPORT) spreads evenly, but what was
given to a process that is busy, held or dead waits for that one, though others have nothing to do.

So they share a socket and a ``Board``: memory in which each writes how many connections it has. Who has clearly more
than the one with the fewest leaves what waits to the others for two milliseconds; if nobody has taken it by then, it
takes some itself. A process that died or does not answer is wiped off the board by whoever looks after it.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Callable
from typing import Any

__all__ = ["PLACES", "REST_SECONDS", "TAKEN_AFTER_REST", "Balance", "Balanced", "Board"]

PLACES = 512
REST_SECONDS = 0.002
TAKEN_AFTER_REST = 8
MOST_AT_ONCE = 64
# So many more than the fewest are no reason to wait: 2, or an eighth.
SLACK, SLACK_SHARE = 2, 8

_BYTES = 4 * PLACES


class Board:
    """The memory, of ``places``. ``fileno`` is to be passed on to the processes; ``None`` there makes a new one."""

    def __init__(self, fileno: int | None = None, places: int = PLACES) -> None:
        if fileno is None:
            fileno = _fresh()
        self.fileno = fileno
        self._memory = mmap.mmap(fileno, _BYTES)
        self._places = memoryview(self._memory).cast("I")[: min(places, PLACES)]

    def write(self, place: int, count: int) -> None:
        """The process at ``place`` (from 0) has ``count`` connections."""
        self._places[place] = count + 1  # 0 is nobody

    def wipe(self, place: int) -> None:
        """Nobody is to wait for the process at ``place``, until it writes again."""
        self._places[place] = 0

    def fewest(self) -> int | None:
        """What the process has that has the fewest; ``None`` when there is none."""
        fewest = min(filter(None, self._places), default=0)
        return fewest - 1 if fewest else None

    def close(self) -> None:
        self._places.release()
        self._memory.close()
        os.close(self.fileno)


def _fresh() -> int:
    if hasattr(os, "memfd_create"):
        fileno = os.memfd_create("hardhttp", os.MFD_CLOEXEC)
    else:
        with tempfile.TemporaryFile() as file:
            fileno = os.dup(file.fileno())
    os.ftruncate(fileno, _BYTES)
    return fileno


class Balance:
    """One process's view: it is at ``place`` of ``board``, and ``count`` says how many connections it has."""

    def __init__(self, board: Board, place: int, count: Callable[[], int]) -> None:
        self._board, self._place, self._count = board, place, count

    def allowance(self) -> int:
        """How many it may take before it is clearly ahead; 0 or less: others should take the next ones."""
        own = self._count()
        self._board.write(self._place, own)
        fewest = self._board.fewest() or 0
        return fewest + max(SLACK, fewest // SLACK_SHARE) + 1 - own


class Balanced:
    """Mixed into a port, which takes connections in turn with other processes once it has a ``balance``."""

    balance: Balance | None = None
    accepts: bool
    reactor: Any
    _rest: Any

    def doRead(self) -> None:
        if self.balance is None:
            super().doRead()  # type: ignore[misc]
            return
        most = self.balance.allowance()
        if most > 0:
            self.accept(min(most, MOST_AT_ONCE))  # type: ignore[attr-defined]
        else:
            self.stopReading()  # type: ignore[attr-defined]
            self._rest = self.reactor.callLater(REST_SECONDS, self._left_to_others)

    def _left_to_others(self) -> None:
        """What waits by now no other process has taken."""
        self._rest = None
        if not self.accepts:
            return
        self.startReading()  # type: ignore[attr-defined]
        self.accept(TAKEN_AFTER_REST)  # type: ignore[attr-defined]
