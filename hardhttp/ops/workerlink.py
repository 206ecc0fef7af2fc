"""A worker's end of the channel to its parent, and its promise not to outlive it.

The environment says that this process is a worker, which, of how many, and by which descriptor its parent is heard.
By that come orders, and connections for the admin side (``hardhttp.ops.workerprocess`` says how).

When the parent has died, by whatever signal, the kernel closes its end. A thread of its own waits for that, so that it
is seen even while the reactor is held: the worker is told to stop, and three seconds later there is no worker. On Linux
the kernel is asked for a SIGTERM besides (PR_SET_PDEATHSIG, prctl(2)).
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterable, MutableMapping
from typing import Any

import attrs
from twisted.internet.interfaces import IFileDescriptorReceiver
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.protocols.basic import LineOnlyReceiver
from zope.interface import implementer

from hardhttp.net.balance import Balance, Board

__all__ = ["ORPHAN_SECONDS", "VARIABLE", "Link", "Place", "leave_with_parent"]

VARIABLE = "HARDHTTP_WORKER"
ORPHAN_SECONDS = 3.0
# Numbers above the total, while workers are replaced.
SPARE_PLACES = 8
_PR_SET_PDEATHSIG = 1


@attrs.frozen
class Place:
    """Worker ``number`` of ``total``; no other has its ``serial``.

    ``fd`` is the channel and ``board`` the memory of ``hardhttp.net.balance``, both descriptors; ``parent`` is a pid.
    """

    number: int
    serial: int
    total: int
    fd: int
    board: int
    parent: int

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Place | None:
        """What ``environ`` says, once: the variable is removed. Raises ``ValueError`` for what no parent sets."""
        text = environ.pop(VARIABLE, None)
        if text is None:
            return None
        try:
            said = json.loads(text)
            place = cls(**said)
            if not all(type(value) is int and value > 0 for value in said.values()):
                raise ValueError("not numbers")
        except (ValueError, TypeError):
            raise ValueError(f"{VARIABLE} is not what a parent of workers sets") from None
        return place


@implementer(IFileDescriptorReceiver)
class _Channel(LineOnlyReceiver):
    delimiter = b"\n"
    MAX_LENGTH = 256
    transport: Any

    def __init__(self, link: Link) -> None:
        self._link = link

    def lineReceived(self, line: bytes) -> None:
        self._link.told(line.decode("ascii", "replace"))

    def fileDescriptorReceived(self, descriptor: int) -> None:
        self._link.given(descriptor)


class Link:
    """The channel, once ``start`` was called. ``admin`` is the factory of connections that the parent makes.

    ``hang_up`` is called when the parent passes SIGHUP on, ``orphaned`` when it has died, ``cut_short`` when the drain
    is to end.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(
        self,
        place: Place,
        reactor: Any,
        admin: Any,
        hang_up: Callable[[], object],
        orphaned: Callable[[], object],
        cut_short: Callable[[], object],
    ) -> None:
        self.place = place
        self._reactor, self._admin, self._hang_up, self._orphaned = reactor, admin, hang_up, orphaned
        self._cut_short = cut_short
        self._channel = _Channel(self)
        self._given: list[int] = []

    def start(self) -> None:
        with socket.socket(fileno=self.place.fd) as handle:
            handle.set_inheritable(False)
            handle.setblocking(False)
            factory = Factory.forProtocol(lambda: self._channel)
            self._reactor.adoptStreamConnection(handle.fileno(), socket.AF_UNIX, factory)
            leave_with_parent(handle, self.place.parent, lambda: self._reactor.callFromThread(self._orphaned))
        self._reactor.callWhenRunning(_leave_interrupts_to_the_parent)

    def ready(self, ports: Iterable[Any], count: Callable[[], int]) -> None:
        """It accepts on ``ports``, in turn with the other workers; ``count`` says how many connections it has."""
        os.set_inheritable(self.place.board, False)
        places = self.place.total + SPARE_PLACES
        board, place = Board(self.place.board, places), self.place.number - 1
        if place < places:
            board.write(place, count())
            for port in ports:
                port.balance = Balance(board, place, count)
        self._channel.sendLine(b"ready")

    def told(self, line: str) -> None:
        if line == "ping":
            self._channel.sendLine(b"pong")
        elif line == "take" and self._given:
            descriptor = self._given.pop(0)
            os.set_blocking(descriptor, False)
            os.set_inheritable(descriptor, False)
            self._reactor.adoptStreamConnection(descriptor, socket.AF_UNIX, self._admin)
            os.close(descriptor)
            self._channel.sendLine(b"taken")
        elif line == "hang-up":
            try:
                self._hang_up()
            except Exception:
                self._log.failure("what SIGHUP asks for could not be done")
            self._channel.sendLine(b"hung-up")
        elif line == "cut-short":
            self._cut_short()

    def given(self, descriptor: int) -> None:
        self._given.append(descriptor)


def _leave_interrupts_to_the_parent() -> None:
    """Ctrl-C reaches every process of a terminal; the parent then tells us."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def leave_with_parent(channel: socket.socket, parent: int, orphaned: Callable[[], object]) -> None:
    """Have this process end when the other end of ``channel`` is closed; ``orphaned`` is called in another thread."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)  # it died before anybody could be told
    # Before SIGKILL a worker that is held gets SIGABRT: where each of its threads is then stands in the log.
    faulthandler.enable(file=2)
    thread = threading.Thread(
        target=_wait_for_the_end, args=(channel.dup(), orphaned), name="hardhttp-parent", daemon=True
    )
    thread.start()


def _wait_for_the_end(channel: socket.socket, orphaned: Callable[[], object]) -> None:
    poll = select.poll()
    poll.register(channel, 0)  # POLLHUP and POLLERR are always told of
    poll.poll()
    orphaned()
    threading.Event().wait(ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
