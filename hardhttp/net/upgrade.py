"""A connection's transport, as a protocol sees it that takes the connection over.

WebSocket libraries take a connection from an HTTP channel by assigning ``transport.protocol``, or
by replacing the channel's methods. Handed the real transport, they would take it out of the
tracker's sight. This stands in for it: the channel stays the transport's protocol, passes on what
arrives, and sees, bounds and paces what is written.

It is a ``hardhttp.net.carrier.Carrier`` too, for protocols that know where they are.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from zope.interface import directlyProvides, providedBy

from hardhttp.net.outbound import unsent_bytes

if TYPE_CHECKING:
    from hardhttp.errors import Reason
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

    # autobahn asks whether this is Twisted's TLS, and takes over by another name then.

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self._transport)

    @property
    def wrappedProtocol(self) -> Any:
        return self._transport.wrappedProtocol

    @wrappedProtocol.setter
    def wrappedProtocol(self, protocol: Any) -> None:
        self._channel.hand_over(protocol)

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

    # Through the channel, which looks for the departure of a peer that nobody reads from.

    def pauseProducing(self) -> None:
        self._channel._pause_input()

    def resumeProducing(self) -> None:
        self._channel._resume_input()

    # -- Carrier --------------------------------------------------------------------------------

    @property
    def unsent_bytes(self) -> int:
        return unsent_bytes(self._channel.base)

    def close_for(self, reason: Reason) -> None:
        self.disconnecting = True
        self._channel._close(reason)

    def linger_for(self, reason: Reason) -> None:
        self.disconnecting = True
        self._channel._linger(reason)

    def abort_for(self, reason: Reason) -> None:
        self.disconnecting = True
        self._channel.abort(reason)

    def hold(self, kind: str, amount: int) -> None:
        if self._channel.base is not None:
            self._channel.server.hold(self._transport, kind, amount)

    def wake_at(self, seconds: float) -> None:
        self._channel.wake_at(seconds)
