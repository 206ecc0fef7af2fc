"""What a process and its successor say to each other: lines, over a pair of sockets.

A line is a word and, behind a blank, a text. The other's end is an end of the line: ``over`` is called, once.
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

__all__ = ["Talk"]

READ_BYTES = 4096
MAX_LINE_BYTES = 2000
# Much more than is ever said.
MAX_BYTES = 1 << 16


def _nobody(*_: object) -> None:
    pass


@implementer(IReadDescriptor)
class Talk:
    """``heard(word, text)`` is called with each line, and ``over()`` at the end, once it is ``listen``ed."""

    def __init__(self, handle: socket.socket) -> None:
        handle.setblocking(False)
        handle.set_inheritable(False)
        self._handle: socket.socket | None = handle
        self._received = b""
        self._heard: Callable[[str, str], object] = _nobody
        self._over: Callable[[], object] = _nobody
        self._reactor: Any = None

    def say(self, word: str, text: str = "") -> None:
        """If the other has gone, nobody hears it."""
        line = f"{word} {text}".encode("utf-8", "replace").replace(b"\n", b" ")[:MAX_LINE_BYTES]
        if self._handle is not None:
            try:
                self._handle.send(line + b"\n")
            except OSError:
                pass

    # -- with a reactor -----------------------------------------------------------------------

    def listen(self, reactor: Any, heard: Callable[[str, str], object], over: Callable[[], object]) -> None:
        self._heard, self._over, self._reactor = heard, over, reactor
        reactor.addReader(self)

    def fileno(self) -> int:
        return -1 if self._handle is None else self._handle.fileno()

    def doRead(self) -> None:
        over = not self._read()
        for word, text in self._lines():
            self._heard(word, text)
        if over and self._handle is not None:
            tell = self._over
            self.close()
            tell()

    def connectionLost(self, reason: object) -> None:
        self.close()

    def logPrefix(self) -> str:
        return "hardhttp"

    # -- and without ----------------------------------------------------------------------------

    def wait_for(self, word: str, seconds: float) -> bool:
        """Whether the other says ``word`` before ``seconds`` are over, and before it goes. Blocks."""
        while not any(heard == word for heard, _ in self._lines()):
            if self._handle is None or not select.select([self._handle], [], [], seconds)[0] or not self._read():
                return False
        return True

    def _read(self) -> bool:
        """Take what has come; whether more may."""
        assert self._handle is not None
        try:
            data = self._handle.recv(READ_BYTES)
        except (BlockingIOError, InterruptedError):
            return True
        except OSError:
            return False
        self._received += data
        return bool(data) and len(self._received) <= MAX_BYTES

    def _lines(self) -> list[tuple[str, str]]:
        *lines, self._received = self._received.split(b"\n")
        said = [line.decode("utf-8", "replace").partition(" ") for line in lines]
        return [(word, text) for word, _, text in said]

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            if self._reactor is not None:
                self._reactor.removeReader(self)
            handle.close()
        # Whoever is called by it may hold it.
        self._heard = self._over = _nobody
