"""Bodies that come in pieces: an iterator's, or an ``IBodyProducer``'s, on their way to a request.

Each is a push producer of its request, any ``IRequest``, and takes the next piece only when the client
has room for it: never more than one is waiting. Pieces are taken in turns of the reactor, so that a
quick iterator with a quick client cannot hold it.

However it ends, the iterator is closed and the request let go: at the last piece the response is
finished; when the client goes the iterator is closed (a coroutine it waits in is cancelled); and a
failure is answered 500 when nothing has been sent, and ends the connection when something has, because
half a response must not look like a whole one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.iweb import UNKNOWN_LENGTH
from zope.interface import implementer

from hardhttp.errors import HTTPError
from hardhttp.web import pages
from hardhttp.web.responding import Responding
from hardhttp.web.response import close_body

__all__ = ["BodyRelay", "PieceProducer"]

_log = Logger(namespace="hardhttp")
_END: Final = object()


@implementer(IPushProducer)
class PieceProducer:
    """Writes what an iterator, or an async one, yields."""

    __slots__ = ("_call", "_clock", "_iterator", "_paused", "_pending", "_request")

    def __init__(self, request: Any, pieces: Any) -> None:
        self._request = request
        self._iterator: Any = aiter(pieces) if hasattr(pieces, "__aiter__") else iter(pieces)
        self._clock = _clock_of(request)
        self._paused = False
        self._pending: Deferred[Any] | None = None
        self._call: Any = None

    def start(self) -> None:
        self._request.registerProducer(self, True)
        self._pull()

    def _pull(self) -> None:
        """Ask for the next piece, if it can be sent and has not been asked for."""
        self._call = None
        if self._request is None or self._paused or self._pending is not None:
            return
        if hasattr(self._iterator, "__anext__"):
            self._pending = later = Deferred.fromCoroutine(_next_of(self._iterator))
            later.addCallbacks(self._came, self._raised)
            return
        try:
            piece = next(self._iterator, _END)
        except BaseException:
            self._raised(Failure())
        else:
            self._came(piece)

    def _came(self, piece: Any) -> None:
        self._pending = None
        request = self._request
        if request is None:
            self._close()
        elif piece is _END:
            self._request = self._iterator = None
            request.unregisterProducer()
            request.finish()
        else:
            try:
                request.write(_as_bytes(piece))
            except Exception:
                self._raised(Failure())
                return
            self._later()

    def _later(self) -> None:
        if self._request is not None and not self._paused and self._call is None and self._pending is None:
            self._call = self._clock.callLater(0, self._pull)

    def _raised(self, failure: Failure) -> None:
        self._pending = None
        request, self._request = self._request, None
        self._close()
        if request is not None:
            fail(request, failure)
        failure.cleanFailure()

    def _close(self) -> None:
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            close_body(iterator)

    # -- IPushProducer ------------------------------------------------------------------------

    def pauseProducing(self) -> None:
        self._paused = True
        call, self._call = self._call, None
        if call is not None:
            call.cancel()

    def resumeProducing(self) -> None:
        self._paused = False
        self._later()

    def stopProducing(self) -> None:
        """Nobody waits for the rest."""
        self.pauseProducing()
        self._request = None
        if self._pending is None:
            self._close()
        else:
            self._pending.cancel()  # what comes of it closes the iterator


async def _next_of(iterator: AsyncIterator[Any]) -> Any:
    return await anext(iterator, _END)


def _as_bytes(piece: Any) -> bytes:
    if isinstance(piece, str):
        return piece.encode("utf-8")
    if isinstance(piece, (bytes, bytearray, memoryview)):
        return bytes(piece)
    raise TypeError(f"a streamed body yielded {type(piece).__name__}, not bytes or str")


def _clock_of(request: Any) -> Any:
    """The reactor that serves ``request``."""
    clock = getattr(getattr(request, "site", None), "reactor", None)
    if clock is None:
        from twisted.internet import reactor as clock
    return clock


@implementer(IPushProducer, IConsumer)
class BodyRelay:
    """Stands between a request and an ``IBodyProducer``, which knows nothing of the other's end."""

    __slots__ = ("_body", "_request")

    def __init__(self, request: Any, body: Any) -> None:
        self._request = request
        self._body = body

    def start(self) -> None:
        request, body = self._request, self._body
        if body.length is not UNKNOWN_LENGTH:
            request.setHeader(b"Content-Length", b"%d" % body.length)
        request.registerProducer(self, True)
        if self._request is None:
            return
        try:
            later = body.startProducing(self)
        except BaseException:
            self._raised(Failure())
            return
        later.addCallbacks(self._ended, self._raised)

    def _ended(self, _: object) -> None:
        request, self._request = self._request, None
        self._body = None
        if request is not None:
            request.unregisterProducer()
            request.finish()

    def _raised(self, failure: Failure) -> None:
        request, self._request = self._request, None
        self._body = None
        if request is not None:
            fail(request, failure)
        failure.cleanFailure()

    # -- IConsumer, the body's side -----------------------------------------------------------

    def write(self, data: bytes) -> None:
        if self._request is not None:
            self._request.write(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Nothing: the body is paused and resumed as its own producer."""

    def unregisterProducer(self) -> None:
        """Nothing: its Deferred tells the end."""

    # -- IPushProducer, the request's side ----------------------------------------------------

    def pauseProducing(self) -> None:
        if self._body is not None:
            self._body.pauseProducing()

    def resumeProducing(self) -> None:
        if self._body is not None:
            self._body.resumeProducing()

    def stopProducing(self) -> None:
        self._request = None
        body, self._body = self._body, None
        if body is not None:
            close_body(body)


def fail(request: Any, failure: Failure) -> None:
    """What could not be sent to its end: answered when nothing has been sent, else its connection ends."""
    request.unregisterProducer()
    if isinstance(request, Responding):
        request.processingFailed(failure)
    elif request.startedWriting:
        _log.failure("a response failed half way; its connection is aborted", failure=failure)
        transport = request.transport
        if transport is not None:
            transport.abortConnection()
    elif isinstance(error := failure.value, HTTPError):
        request.write(pages.error_page(request, error.status, error.detail, error.headers, error.problem))
        request.finish()
    else:
        request.processingFailed(failure)
