"""The body of a request, on its way out.

A body of known bytes (``BytesBody``) is sent with the head, in one write, if it is short, and piece by piece
if it is not. Any other ``IBodyProducer`` writes to a ``BodySender``, which frames what it is given (a length
that must be kept, or chunks), hands on the transport's backpressure and stops the producer, once, when there
is nobody left to send to.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web._newclient import WrongBodyLength
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import implementer

from hardhttp.wire.requesthead import LAST_CHUNK, encode_chunk

if TYPE_CHECKING:
    from hardhttp.client.http1 import Connection1
    from hardhttp.client.streamrequest import StreamRequest

__all__ = ["WITH_HEAD_BYTES", "BodySender", "BytesBody", "Sending", "StreamSender"]

# A body so long goes with its head: as much as a transport takes before it says that it is enough.
WITH_HEAD_BYTES = 64 * 1024


@implementer(IBodyProducer)
class BytesBody:
    """A body that is there already. It may be sent any number of times."""

    __slots__ = ("content", "length")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.length = len(content)

    def again(self) -> BytesBody:
        """The same body, for another request."""
        return self

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        consumer.write(self.content)
        return succeed(None)

    def pauseProducing(self) -> None:
        """All is written already."""

    def resumeProducing(self) -> None:
        """All is written already."""

    def stopProducing(self) -> None:
        """All is written already."""


@implementer(IBodyProducer)
class _Pieces:
    """Known bytes, written no faster than they are taken: only so is a slow peer told from a silent one."""

    __slots__ = ("_consumer", "_content", "_done", "_paused", "_position", "length")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)
        self._position = 0
        self._paused = False
        self._consumer: IConsumer | None = None
        self._done: Deferred[None] | None = None

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._consumer = consumer
        done = self._done = Deferred()
        self._write()
        return done

    def pauseProducing(self) -> None:
        self._paused = True

    def resumeProducing(self) -> None:
        self._paused = False
        self._write()

    def stopProducing(self) -> None:
        self._consumer = self._done = None

    def _write(self) -> None:
        while self._consumer is not None and not self._paused:
            if self._position >= self.length:
                done, self._done, self._consumer = self._done, None, None
                if done is not None:
                    done.callback(None)
                return
            begin, self._position = self._position, self._position + WITH_HEAD_BYTES
            self._consumer.write(self._content[begin : self._position])


class Sending(IntEnum):
    """How far a body is."""

    UNINVITED = 0  # a 100 is awaited (RFC 9110, 10.1.1)
    PRODUCING = 1
    SENT = 2
    STOPPED = 3  # the rest is not wanted, or cannot be sent


@implementer(IConsumer, IPushProducer)
class BodySender:
    """What a request's producer writes to, and the transport pauses."""

    __slots__ = ("_connection", "_left", "_prefix", "_producer", "state")

    _log = Logger(namespace="hardhttp.client")
    _chunks = True  # a body of unknown length is sent in chunks

    def __init__(self, connection: Connection1 | StreamRequest, producer: Any, head: bytes, invited: bool) -> None:
        self._connection: Connection1 | StreamRequest | None = connection
        self._producer = _Pieces(producer.content) if isinstance(producer, BytesBody) else producer
        self._left: int | None = None if producer.length is UNKNOWN_LENGTH else producer.length
        self._prefix = head  # goes with the first bytes of the body
        self.state = Sending.UNINVITED
        if not invited:
            self._flush()

    def begin(self) -> None:
        """The body may be sent."""
        connection = self._connection
        if self.state is not Sending.UNINVITED or connection is None:
            return
        self.state = Sending.PRODUCING
        connection.transport.registerProducer(self, True)
        if self.state is not Sending.PRODUCING:
            return  # the transport is gone already, and has said so
        try:
            produced = self._producer.startProducing(self)
            self._flush()  # a body that is long in coming does not keep its head back
            produced.addCallbacks(self._produced, self._fail)
        except Exception:  # its own, or what it returned is no Deferred
            self._fail(Failure())

    def stop(self) -> None:
        """No more of the body can be sent, or is wanted; the producer is told."""
        if self.state < Sending.SENT:
            started = self.state is Sending.PRODUCING
            producer = self._let_go(Sending.STOPPED)
            if started:
                try:
                    producer.stopProducing()
                except Exception:
                    self._log.failure("a body producer could not be stopped")

    # -- the producer's side: IConsumer -----------------------------------------------------

    def write(self, data: bytes) -> None:
        connection = self._connection
        if self.state is not Sending.PRODUCING or connection is None or not data:
            return
        if self._left is None:
            data = encode_chunk(data) if self._chunks else data
        elif len(data) > self._left:
            self._fail(Failure(WrongBodyLength("the producer makes more than it said")))
            return
        else:
            self._left -= len(data)
        if self._prefix:
            data, self._prefix = self._prefix + data, b""
        connection.send(data)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """A body producer is its own producer (``IBodyProducer``)."""

    def unregisterProducer(self) -> None:
        """See ``registerProducer``."""

    # -- the transport's side: IPushProducer ------------------------------------------------

    def pauseProducing(self) -> None:
        if self.state is Sending.PRODUCING and self._connection is not None:
            self._connection.sending_blocked(True)
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        if self.state is Sending.PRODUCING and self._connection is not None:
            self._connection.sending_blocked(False)
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        self.stop()

    # -- ends ---------------------------------------------------------------------------------

    def _flush(self) -> None:
        if self._prefix and self._connection is not None:
            data, self._prefix = self._prefix, b""
            self._connection.send(data)

    def _produced(self, result: object) -> None:
        connection = self._connection
        if self.state is not Sending.PRODUCING or connection is None:
            return
        if self._left:
            self._fail(Failure(WrongBodyLength("the producer makes less than it said")))
            return
        if self._left is None and self._chunks:
            connection.send(self._prefix + LAST_CHUNK)
        self._let_go(Sending.SENT)
        connection.body_sent()

    def _fail(self, failure: Failure) -> None:
        connection = self._connection
        if self.state is not Sending.PRODUCING or connection is None:
            return
        failure.cleanFailure()
        if failure.check(WrongBodyLength):
            self.stop()
        else:
            self._let_go(Sending.STOPPED)
        connection.body_failed(failure)

    def _let_go(self, state: Sending) -> Any:
        if self.state is Sending.PRODUCING and self._connection is not None:
            self._connection.transport.unregisterProducer()
        self.state = state
        producer, self._producer, self._connection = self._producer, None, None
        return producer


class StreamSender(BodySender):
    """The same for an HTTP/2 stream, whose frames say where a body ends (RFC 9113, 8.1)."""

    __slots__ = ()

    _chunks = False
