"""Sending at once over a connection of the client's.

As ``hardhttp.net.port`` does it for servers: a stock transport queues what is written and sends it in
the next turn of the reactor, which costs two ``epoll_ctl`` calls and a turn for every request. Here
the socket is offered the bytes first, and the transport gets what the kernel would not take.

Only transports that are known to keep nothing else between ``write`` and the socket are passed by: the
stock ones for TCP and Unix sockets. All others, TLS and wrappers among them, are written to as ever.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import tcp, unix

__all__ = ["direct", "has_input", "send_now"]


def direct(transport: Any) -> Any:
    """``transport``, where its socket may be sent to directly; else ``None``."""
    return transport if type(transport) in (tcp.Client, unix.Client) else None


def send_now(base: Any, data: bytes) -> None:
    """Send ``data`` over ``base`` (from ``direct``), in order with what was written to it."""
    if base.dataBuffer or base._tempDataBuffer or base._writeDisconnected or base.TLS or not base.connected:
        base.write(data)
        return
    try:
        sent = base.socket.send(data)
    except OSError:
        sent = 0  # full, or broken: the transport meets it again, in its own loop
    if sent < len(data):
        base.write(data[sent:])


def has_input(base: Any) -> bool:
    """Whether bytes, or the peer's end, wait in the kernel below the transport ``base``.

    A connection that keeps silent and is about to be asked should have none.
    """
    handle = getattr(base, "socket", None)
    if not isinstance(handle, socket.socket):
        return False
    try:
        handle.recv(1, socket.MSG_PEEK)
    except (BlockingIOError, InterruptedError):
        return False
    except OSError:
        pass
    return True
