"""A request's body, awaited piece by piece: ``async for piece in request.body_stream()``.

Between two pieces nothing is read from the client, so what waits here is at most one read of the
socket. When the client goes, the iterator raises ``ClientLeft``; a handler that does not catch it ends
quietly, for nobody waits for its answer. An iterator that is dropped leaves the client waiting and
nothing else: the answer, whenever it comes, closes the connection.

These are objects rather than generators: one that is not exhausted needs no garbage collector.
"""

from __future__ import annotations

from collections import deque
from typing import IO, Any, Self

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

__all__ = ["BodyPieces", "ClientLeft", "KeptPieces"]


class ClientLeft(ConnectionLost, CancelledError):
    """The client went away, or was refused, before its body was whole."""


class BodyPieces(Protocol):
    """The body of a request whose handler was called at its head."""

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._waiting: Deferred[None] | None = None
        self._ended = False
        self._whole = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if not self._pieces and not self._ended:
            if self._waiting is not None:
                raise RuntimeError("another coroutine awaits this body already")
            self._proceed()
        if not self._pieces and not self._ended:
            self._waiting = Deferred()
            try:
                await self._waiting
            finally:
                self._waiting = None
        if self._pieces:
            return self._pieces.popleft()
        if self._whole:
            raise StopAsyncIteration
        raise ClientLeft("the client left before its body was whole")

    def _proceed(self) -> None:
        if self.transport is not None:
            self.transport.resumeProducing()  # type: ignore[attr-defined] # it is a StreamedBody

    # -- what is delivered, as IProtocol ---------------------------------------------------------

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)
        self.transport.pauseProducing()  # type: ignore[union-attr]
        self._wake()

    def connectionLost(self, reason: Failure = Failure(ConnectionDone())) -> None:  # noqa: B008 # as IProtocol has it
        self._ended = True
        self._whole = reason.check(ConnectionDone) is not None
        self.transport = None
        if not self._whole:
            self._pieces.clear()
        self._wake()

    def _wake(self) -> None:
        waiting = self._waiting
        if waiting is not None and not waiting.called:
            waiting.callback(None)


class KeptPieces:
    """The body of a request that has been read whole, in blocks, with the reactor's turn between them."""

    def __init__(self, request: Any, content: IO[bytes], block_bytes: int, clock: IReactorTime) -> None:
        self._request = request
        self._content = content
        self._block_bytes = block_bytes
        self._clock = clock
        self._at = 0

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if self._at:
            await deferLater(self._clock, 0)
        if self._content.closed:
            raise ClientLeft("the request has ended")
        self._content.seek(self._at)
        block = self._content.read(self._block_bytes)
        self._content.seek(0)
        self._at += len(block)
        if not block:
            raise StopAsyncIteration
        return block
