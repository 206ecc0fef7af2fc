"""Signals, acted upon in the reactor's turn."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

__all__ = ["OnSignal"]


class OnSignal:
    """Calls ``act`` in the reactor's turn when the process gets the signal, where signals can be had."""

    def __init__(self, number: signal.Signals, act: Callable[[], object], reactor: Any) -> None:
        self._number, self._act, self._reactor = number, act, reactor
        self._before: Any = None

    def start(self) -> None:
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(self._number, self._received)

    def _received(self, number: int, frame: object) -> None:
        self._reactor.callFromThread(self._act)

    def stop(self) -> None:
        """Signals are whoever's they were."""
        before, self._before = self._before, None
        if before is not None:
            signal.signal(self._number, before)
