"""A connection's transport, as a protocol sees it that takes the connection over.

WebSocket libraries take a connection from an HTTP channel by assigning ``transport.protocol``, or
by replacing the channel's methods. Handed the real transport, they would take it out of the
tracker's sight. This stands in for it: the channel stays the transport's protocol, passes on what
arrives, and sees, bounds and paces what is written.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zope.interface import directlyProvides, providedBy

if TYPE_CHECKING:
    from hardhttp.net.connection import Connection

__all__ = ["UpgradeTransport"]


class UpgradeTransport:
    """Provides what ``transport`` provides; whatever is not here is ``transport``'s own."""

    def __init__(self, channel: Connection, transport: Any) -> None:
        self._channel = channel
        self._transport = transport
        self.disconnecting = False
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    @property
    def protocol(self) -> Any:
        return self._transport.protocol

    @protocol.setter
    def protocol(self, protocol: Any) -> None:
        self._channel.hand_over(protocol)

    def write(self, data: bytes) -> None:
        self._channel.write(data)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self._channel.write(b"".join(iovec))

    def loseConnection(self) -> None:
        self.disconnecting = True
        self._channel.loseConnection()

    def abortConnection(self) -> None:
        self.disconnecting = True
        self._channel.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._channel.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        self._channel.unregisterProducer()
