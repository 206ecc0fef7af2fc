"""What systemd is told: sd_notify(3), and the watchdog of sd_watchdog_enabled(3).

A service of ``Type=notify`` says when it serves, when it reloads, when it stops and, after a restart by itself, which
process is its main one now. With ``WatchdogSec=`` it must say twice in that time that it is alive; a timer of the
reactor says so, and a reactor that is stuck says nothing: systemd ends the process then, and starts another.

Each is one datagram to the socket that ``NOTIFY_SOCKET`` names. Nobody waits for it, and one that cannot be sent is
let be: a server does not fail because its supervisor is away. Without the variable nothing is said.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

__all__ = ["Notifier", "Watchdog", "watchdog_seconds"]

MICROSECONDS = 1_000_000


class Notifier:
    """Tells ``address`` (a path, or ``@name`` for an abstract one); ``None`` is nobody.

    ``monotonic`` is CLOCK_MONOTONIC in seconds, which systemd compares with its own.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(self, address: str | None, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._address = "\0" + address[1:] if address is not None and address.startswith("@") else address
        self._monotonic = monotonic

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Notifier:
        return cls(environ.get("NOTIFY_SOCKET") or None)

    @property
    def listened_to(self) -> bool:
        return self._address is not None

    def _tell(self, **said: object) -> None:
        if self._address is None:
            return
        message = "\n".join(f"{name}={value}" for name, value in said.items()).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as handle:
                handle.sendto(message, self._address)
        except OSError as error:
            self._log.warn("systemd cannot be told {said}: {error}", said=next(iter(said)), error=error.strerror)

    def ready(self, status: str) -> None:
        """It serves; also after a reload."""
        self._tell(READY=1, STATUS=status)

    def reloading(self) -> None:
        """Until ``ready``. The time lets ``Type=notify-reload`` tell this reload from one before."""
        self._tell(RELOADING=1, MONOTONIC_USEC=int(self._monotonic() * MICROSECONDS), STATUS="reloading")

    def stopping(self, status: str) -> None:
        self._tell(STOPPING=1, STATUS=status)

    def status(self, text: str) -> None:
        self._tell(STATUS=text)

    def alive(self) -> None:
        self._tell(WATCHDOG=1)

    def succeeded_by(self, pid: int) -> None:
        """Another process is the main one from now on: systemd listens to that one, and the watchdog begins anew."""
        self._tell(MAINPID=pid, WATCHDOG=1)
        self._address = None


def watchdog_seconds(environ: Mapping[str, str], pid: int) -> float | None:
    """In which time systemd wants to hear of ``pid``; ``None`` for never."""
    text = environ.get("WATCHDOG_USEC", "")
    if environ.get("WATCHDOG_PID", str(pid)) != str(pid) or not (text.isascii() and text.isdigit()):
        return None
    return int(text[:18]) / MICROSECONDS or None


class Watchdog:
    """Says twice in each ``seconds`` that the reactor runs. ``None``: never."""

    def __init__(self, notifier: Notifier, seconds: float | None, clock: IReactorTime) -> None:
        self._seconds = seconds
        self._loop: Any = LoopingCall(notifier.alive)
        self._loop.clock = clock

    def start(self) -> None:
        if self._seconds is not None and not self._loop.running:
            self._loop.start(self._seconds / 2)

    def stop(self) -> None:
        if self._loop.running:
            self._loop.stop()


def forget(environ: dict[str, str] | os._Environ[str]) -> None:
    """Processes that this one starts are not systemd's service."""
    for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"):
        environ.pop(name, None)
