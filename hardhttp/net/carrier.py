"""What a protocol that was handed a connection may ask of it, besides what it may ask of any transport.

It is all that a WebSocket asks for. Two things are one: an HTTP/1.1 connection that was upgraded
(``hardhttp.net.upgrade``), and a stream of HTTP/2 that was opened for one (``hardhttp.net.tunnel``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from hardhttp.errors import Reason

__all__ = ["Carrier"]


class Carrier(Protocol):
    """Bytes both ways for a protocol that was handed a connection, or a stream of one.

    The protocol is an ``IProtocol``, and is also told by ``wake()`` when the time it was given has come. When it
    registers as a push producer it is paused while what it has written waits.
    """

    def write(self, data: bytes) -> None: ...
    def registerProducer(self, producer: Any, streaming: bool) -> None: ...
    def unregisterProducer(self) -> None: ...
    def pauseProducing(self) -> None:
        """Bring no more of what the peer sends."""

    def resumeProducing(self) -> None: ...
    def getPeer(self) -> Any: ...
    def getHost(self) -> Any: ...

    @property
    def unsent_bytes(self) -> int:
        """Written, and not taken by the kernel yet."""

    def close_for(self, reason: Reason) -> None:
        """Close once all is sent; abort when that takes too long."""

    def linger_for(self, reason: Reason) -> None:
        """The same for a peer that may still be sending: it is to read our last words before it is cut off."""

    def abort_for(self, reason: Reason) -> None:
        """Close now."""

    def hold(self, kind: str, amount: int) -> None:
        """So much of a kind is held for it; see ``hardhttp.net.ledger``."""

    def wake_at(self, seconds: float) -> None:
        """``wake`` is to be called then, within a second, instead of whenever was said before."""
