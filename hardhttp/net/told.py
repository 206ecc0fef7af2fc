"""A transport whose ends are those a proxy has told of.

``getPeer`` and ``getHost`` are answered here, all else is the transport's own; what is written goes to it
without a call in between. Its ``transport`` is the one it stands for, so that whoever looks for the socket
(``outbound.base_transport``) finds it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IAddress
from zope.interface import directlyProvides, providedBy

from hardhttp.net.outbound import base_transport

__all__ = ["ToldTransport", "half_closes", "is_bare"]


class ToldTransport:
    """Provides what ``transport`` provides. ``peer`` and ``host`` are what ``getPeer`` and ``getHost`` return."""

    def __init__(self, transport: Any, peer: IAddress, host: IAddress) -> None:
        self.transport = transport
        self._peer, self._host = peer, host
        # Found first, and the transport's own: a write through here costs what it costs without.
        self.write = transport.write
        self.writeSequence = transport.writeSequence
        directlyProvides(self, providedBy(transport))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.transport, name)

    def getPeer(self) -> IAddress:
        return self._peer

    def getHost(self) -> IAddress:
        return self._host


def is_bare(transport: Any) -> bool:
    """Whether what is written goes to the socket as it is: nothing stands between, as TLS does."""
    bare = transport.transport if isinstance(transport, ToldTransport) else transport
    return base_transport(bare) is bare


def half_closes(transport: Any) -> bool:
    """Whether ``transport`` can end its output alone.

    TLS cannot, and what it passes on is the half-close of the socket below it, which would cut its handshake.
    """
    return hasattr(transport, "loseWriteConnection") and is_bare(transport)
