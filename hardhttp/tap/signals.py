"""Signals, acted upon in the reactor's turn."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from typing import Any

from twisted.logger import Logger

__all__ = ["AGAIN_SECONDS", "OnSignal", "WhileEnding", "let_pass"]

# What sends SIGINT twice at once is a shell with a program between; who presses Ctrl-C again has waited so long.
AGAIN_SECONDS = 1.0


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


def let_pass(number: signal.Signals, why: str, reactor: Any) -> None:
    """From now on that signal is a line in the log with ``why``, if else the process would be ended by it."""
    if signal.getsignal(number) is signal.SIG_DFL:
        log = Logger(namespace="hardhttp")
        OnSignal(number, lambda: log.info("{name} changes nothing: {why}", name=number.name, why=why), reactor).start()


class WhileEnding:
    """What SIGTERM and SIGINT mean while the process ends: without it Twisted logs an error for each.

    SIGTERM changes nothing: a supervisor may send it to every process of a group, and to a parent that passes it on.
    SIGINT, where ``interrupts``, calls ``hurry``, unless it comes within ``AGAIN_SECONDS`` of ``start``.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, hurry: Callable[[], object], reactor: Any) -> None:
        self._hurry, self._reactor = hurry, reactor
        self._signals: list[OnSignal] = []
        self._since = 0.0

    def start(self, *, interrupts: bool) -> None:
        self._since = self._reactor.seconds()
        self._signals = [OnSignal(signal.SIGTERM, self._terminated, self._reactor)]
        if interrupts:
            self._signals.append(OnSignal(signal.SIGINT, self._interrupted, self._reactor))
        for each in self._signals:
            each.start()

    def stop(self) -> None:
        for each in self._signals:
            each.stop()
        self._signals = []

    def _terminated(self) -> None:
        self._log.info("SIGTERM again: the process ends already")

    def _interrupted(self) -> None:
        if self._reactor.seconds() - self._since < AGAIN_SECONDS:
            return
        self._log.warn("SIGINT again: what is left is aborted")
        self._hurry()
