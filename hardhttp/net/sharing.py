"""Ports whose sockets other processes may have too.

A port that is handed on (``hardhttp.net.inherited``) goes on in another process: when it ends here, connections that
wait in its queue must stay there, and a Unix socket's file and lock are the other's. So such a port is closed and
not shut down (shutdown(2) would stop it for everybody), and files are removed by whoever owns them alone.
"""

from __future__ import annotations

import os
import socket
from typing import Any

import attrs
from twisted.internet import tcp
from twisted.python.lockfile import FilesystemLock

from hardhttp.net.inherited import Given

__all__ = ["SharedPort", "SharedUNIXPort"]

# No system has more wait (Linux: net.core.somaxconn); in a flood there is no end of them.
MAX_WAITING = 4096


class SharedPort:
    """Mixed into a TCP port."""

    socket: socket.socket
    port: Any
    name = ""
    chosen = False
    owned = False
    will_own = False  # once whoever had it before has left
    accepts = True
    accept: Any
    _shouldShutdown: bool

    def adopted(self, given: Given) -> None:
        """It has been made of ``given``, and will listen."""
        self.name, self.chosen, self.owned, self.will_own = given.name, given.chosen, False, given.owned
        given.socket.setblocking(False)
        given.socket.close()  # the port has a descriptor of its own

    def given(self) -> Given:
        """What another process is to be given."""
        return Given(self.socket, self.name, self.chosen or self.port == 0, self.owned)

    def share(self) -> Given:
        """As ``given``, for processes beside this one: it will be closed here without being shut down."""
        self._shouldShutdown = False
        return attrs.evolve(self.given(), owned=False)

    def leave(self) -> None:
        """Another process has the socket now: nothing of it is touched when this port ends."""
        self._shouldShutdown = False
        self.owned = False

    def cease(self) -> None:
        """Accept nobody any more: who waits is for other processes that have the socket."""
        self.accepts = False
        self.stopReading()  # type: ignore[attr-defined]

    def startReading(self) -> None:
        if self.accepts:
            super().startReading()  # type: ignore[misc]

    def take_waiting(self) -> None:
        """Accept all who have connected already, before a stop: the system resets them when the socket is closed."""
        if self.accepts:
            self.accept(MAX_WAITING)

    def take_over(self) -> None:
        """Whoever had the socket before has left it."""
        self.owned, self.will_own = self.owned or self.will_own, False


class SharedUNIXPort(SharedPort):
    """Mixed into a Unix port. One that was bound here owns its file."""

    owned = True
    lockFile: Any
    mode: int
    factory: Any
    fileno: Any
    connected: Any
    _bindPath: bytes
    _preexistingSocket: Any

    def given(self) -> Given:
        return Given(self.socket, self.name, owned=self.owned)

    def startListening(self) -> None:
        if self._preexistingSocket is None:
            super().startListening()  # type: ignore[misc]
            return
        # As Twisted's, but that a file is let be which is not ours: its mode is the unit's SocketMode=.
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self._shouldShutdown = False
        if self.will_own and not self._bindPath.startswith(b"\0"):
            os.chmod(self._bindPath, self.mode)
        self.factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno
        self.startReading()

    def take_over(self) -> None:
        """The lock names this process from now on, and never nobody in between."""
        super().take_over()
        link = self._bindPath + b".lock"
        if not (self.owned and os.path.islink(link)):
            return
        fresh = link + b".%d" % os.getpid()
        os.symlink(b"%d" % os.getpid(), fresh)
        os.replace(fresh, link)
        self.lockFile = FilesystemLock(os.fsdecode(link))
        self.lockFile.locked = True

    def connectionLost(self, reason: Any) -> None:
        if self.owned:
            super().connectionLost(reason)  # type: ignore[misc]
        else:
            tcp.Port.connectionLost(self, reason)  # type: ignore[arg-type]
