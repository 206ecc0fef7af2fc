"""Bodies undone of their content codings (RFC 9110, 8.4), within bounds.

``DecodingAgent`` says what it understands, where the request does not, and hands on bodies decoded, a
piece at a time and no faster than they are taken. A body may become ``max_decoded_bytes`` long, and no
more than ``max_ratio`` times what came; codings may lie above each other, a few. Past any of these the
connection is closed and the body fails. So does a body that is whole to HTTP and cut within its coding.

One read of the socket may mean some twenty megabytes: where the agent says its clock, they are handed on in several
turns of the reactor.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IPushProducer, IReactorTime, ITransport
from twisted.logger import Logger
from twisted.python.components import proxyForInterface
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from hardhttp.client.errors import BadResponse, ClientReason, ResponseTooLarge
from hardhttp.client.layers import clock_of, limits_of, takes_limits
from hardhttp.client.limits import ClientLimits
from hardhttp.client.response import aborted
from hardhttp.wire.decoding import ACCEPT_ENCODING, DecodedTooLargeError, Decoder, DecodingError, decoder
from hardhttp.wire.grammar import list_items

__all__ = ["DecodingAgent"]

# JSON and logs come near to 100; a bomb of gzip has 1000.
MAX_RATIO = 300.0
# Two are known from the wild, a server and a cache.
MAX_CODINGS = 3
PIECE_BYTES = 64 * 1024
# In one turn of the reactor: some two milliseconds.
TURN_BYTES = 1024 * 1024
_OURS = (b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"identity")


class _Deflate:
    """``deflate`` is zlib's format (RFC 9110, 8.4.1.2), and from some servers its bare stream."""

    def __init__(self) -> None:
        self._begun = False
        self._stream = zlib.decompressobj()
        self._left = b""

    @property
    def whole(self) -> bool:
        return self._stream.eof

    def step(self, data: bytes, max_bytes: int) -> bytes:
        data = self._left + data
        if self._stream.eof:
            if data:
                raise DecodingError("bytes behind the end of a deflate body")
            return b""
        if not self._begun and len(data) >= 2:
            self._begun = True
            # RFC 1950, 2.2: the two octets of a header are a multiple of 31.
            if data[0] & 0x0F != 8 or (data[0] << 8 | data[1]) % 31:
                self._stream = zlib.decompressobj(-zlib.MAX_WBITS)
        if not self._begun:
            self._left = data
            return b""
        out = self._stream.decompress(data, max_bytes)
        # zlib keeps what lies behind the end, and copies it with each call: it is looked at here, once.
        self._left = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return out


def _decoder(coding: bytes, max_ratio: float) -> Decoder | None:
    """For one coding; ``None`` for one that cannot be undone here."""
    if coding == b"deflate":
        return Decoder(_Deflate(), max_ratio, None)
    try:
        return decoder(coding, max_ratio=max_ratio)
    except ValueError:
        return None


@implementer(IAgent)
class DecodingAgent:
    """An agent that asks ``agent`` for what can be decoded, and decodes it.

    ``limits`` are ``agent``'s own, where it has some. Codings that are not known are left to the
    application, with what lies below them.
    """

    def __init__(self, agent: Any, limits: ClientLimits | None = None, max_ratio: float = MAX_RATIO) -> None:
        self._agent = agent
        self.limits = limits or limits_of(agent)
        self.clock = clock_of(agent)
        self.takes_limits = takes_limits(agent)
        self._max_ratio = max_ratio

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
        **options: Any,
    ) -> Deferred[IResponse]:
        """As ``IAgent`` says; ``options`` are handed on."""
        headers = Headers() if headers is None else headers
        if not headers.hasHeader(b"Accept-Encoding"):
            headers = headers.copy()
            headers.setRawHeaders(b"Accept-Encoding", [ACCEPT_ENCODING])
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer, **options)
        return asked.addCallback(self._answered, options.get("limits") or self.limits)

    def _answered(self, response: Any, limits: ClientLimits) -> Any:
        codings = response.headers.getRawHeaders(b"content-encoding")
        if codings is None or response.length == 0:
            return response
        names = list_items(codings)
        if len(names) > MAX_CODINGS:
            _abort(response)
            text = f"more than {MAX_CODINGS} content codings above each other"
            raise BadResponse(ClientReason.DECODING, text, response=response, sent=True)
        stages: list[Decoder] = []
        while names:
            stage = _decoder(names[-1], self._max_ratio)
            if stage is None:
                break
            stages.append(stage)
            names.pop()
        if not stages:
            return response
        if names:
            response.headers.setRawHeaders(b"content-encoding", [b", ".join(names)])
        else:
            response.headers.removeHeader(b"content-encoding")
        return _Decoded(response, stages, limits, self.clock)


def _abort(response: Any) -> None:
    """Let a response's connection go."""
    abort = getattr(response, "abort", None)
    if abort is not None:
        abort()


class _Decoded(proxyForInterface(IResponse)):  # type: ignore[misc]
    """A response whose body is decoded on its way."""

    original: Any

    def __init__(self, original: Any, stages: list[Decoder], limits: ClientLimits, clock: IReactorTime | None) -> None:
        super().__init__(original)
        self.length = UNKNOWN_LENGTH
        self._stages = stages
        self._limits = limits
        self._clock = clock

    def deliverBody(self, protocol: Any) -> None:
        self.original.deliverBody(_Decoding(protocol, self._stages, self._limits, self, self._clock))

    def abort(self) -> None:
        _abort(self.original)


@implementer(ITransport, IPushProducer)
class _Decoding:
    """Between a body and its protocol: the one's protocol, and the other's transport."""

    disconnecting = False

    _log = Logger(namespace="hardhttp.client")

    def __init__(
        self, protocol: Any, stages: list[Decoder], limits: ClientLimits, response: Any, clock: IReactorTime | None
    ) -> None:
        self._protocol = protocol
        self._clock = clock
        self._stages = stages
        self._bound = limits.max_decoded_bytes
        self._response = response
        self._transport: Any = None
        self._paused = False
        self._giving = False
        self._later: IDelayedCall | None = None  # the turn that goes on
        self._made_bytes = 0
        self._end: Failure | None = None

    # -- the body's side: IProtocol ---------------------------------------------------------

    def makeConnection(self, transport: Any) -> None:
        self._transport = transport
        self._protocol.makeConnection(self)

    def dataReceived(self, data: bytes) -> None:
        if self._stages:
            self._stages[0].give(data)
            self._pump()

    def connectionLost(self, reason: Failure) -> None:
        self._end = self._end or reason
        self._pump()

    # -- decoding -----------------------------------------------------------------------------

    def _pump(self) -> None:
        """Hand on what there is, as long as it is taken, and so much in a turn."""
        if self._giving or self._later is not None:
            return  # whoever gives goes on, now or in another turn
        self._giving = True
        try:
            more = self._give()
        except DecodingError as error:
            large = isinstance(error, DecodedTooLargeError)
            reason = ClientReason.DECODED_BYTES if large else ClientReason.DECODING
            kind = ResponseTooLarge if large else BadResponse
            self._fail(kind(reason, str(error), response=self._response, sent=True))
            return
        except Exception:
            self._stages = []  # who has failed is given no more
            raise
        finally:
            self._giving = False
        if self._end is not None and not self._paused and not more:
            if self._end.check(ResponseDone, PotentialDataLoss) and not all(stage.whole for stage in self._stages):
                text = "the body ends within its content coding"
                self._end = Failure(BadResponse(ClientReason.DECODING, text, response=self._response, sent=True))
            self._finish(self._end)

    def _give(self) -> bool:
        """Whether another turn will go on."""
        last_bytes = self._made_bytes + TURN_BYTES
        while self._stages and not self._paused and self._protocol is not None:
            if self._clock is not None and self._made_bytes >= last_bytes:
                self._later = self._clock.callLater(0, self._go_on)
                self._of_transport("pauseProducing")
                return True
            piece = self._take(len(self._stages) - 1)
            if not piece:
                break
            self._made_bytes += len(piece)
            if self._bound is not None and self._made_bytes > self._bound:
                raise DecodedTooLargeError(f"the decoded body is longer than {self._bound} bytes")
            self._protocol.dataReceived(piece)
        return False

    def _go_on(self) -> None:
        self._later = None
        try:
            self._pump()
        except Exception:
            self._log.failure("a body's protocol failed at what it was given")
            self.abortConnection()
        if not self._paused and self._later is None:
            self._of_transport("resumeProducing")

    def _of_transport(self, name: str) -> None:
        """A transport whose body has ended has nothing to pause."""
        if self._transport is not None and self._end is None:
            getattr(self._transport, name)()

    def _take(self, stage: int) -> bytes:
        """The next piece that the stage has; it is fed by the one before it."""
        while True:
            piece = self._stages[stage].take(PIECE_BYTES)
            if piece or stage == 0:
                return piece
            more = self._take(stage - 1)
            if not more:
                return b""
            self._stages[stage].give(more)

    def _fail(self, error: Exception) -> None:
        transport = self._transport
        self._finish(Failure(error))
        if transport is not None:
            transport.abortConnection()

    def _finish(self, end: Failure) -> None:
        protocol, self._protocol, self._transport, self._response = self._protocol, None, None, None
        later, self._later = self._later, None
        if later is not None:
            later.cancel()
        if protocol is not None:
            protocol.connectionLost(end)

    # -- the protocol's side: its transport ---------------------------------------------------

    def pauseProducing(self) -> None:
        self._paused = True
        self._of_transport("pauseProducing")

    def resumeProducing(self) -> None:
        if self._paused:
            self._paused = False
            self._pump()
            if not self._paused and self._later is None and not self._giving:
                self._of_transport("resumeProducing")

    def stopProducing(self) -> None:
        self.abortConnection()

    def loseConnection(self) -> None:
        self.abortConnection()

    def abortConnection(self) -> None:
        self._stages = []  # nothing more is handed on
        self._paused = False
        if self._later is not None:
            self._later.cancel()
            self._later = None
        if self._end is not None:  # nobody else will tell it
            self._end = Failure(aborted())
            if not self._giving:
                self._finish(self._end)
        elif self._transport is not None:
            self._transport.abortConnection()

    def write(self, data: bytes) -> None:
        """A response's body takes nothing."""

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """A response's body takes nothing."""

    def getPeer(self) -> Any:
        return None

    def getHost(self) -> Any:
        return None
