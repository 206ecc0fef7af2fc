"""An agent whose every answer a test gives by hand."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

__all__ = ["STREAM", "Asked", "ScriptedAgent", "ScriptedResponse", "ScriptedTransport"]

STREAM = {"Content-Type": "text/event-stream"}


class ScriptedTransport:
    """What a body comes by."""

    def __init__(self) -> None:
        self.paused = self.aborted = False
        self.pauses = 0

    def pauseProducing(self) -> None:
        assert not self.paused
        self.paused = True
        self.pauses += 1

    def resumeProducing(self) -> None:
        assert self.paused
        self.paused = False

    def abortConnection(self) -> None:
        self.aborted = True


@implementer(IResponse)
class ScriptedResponse:
    version = (b"HTTP", 1, 1)
    phrase = b"OK"
    request = previousResponse = None

    def __init__(self, code: int, headers: dict[str, str], length: Any = "unknown") -> None:
        self.code = code
        self.headers = Headers({name: [value] for name, value in headers.items()})
        self.length = length
        self.transport = ScriptedTransport()
        self.protocol: Any = None

    def deliverBody(self, protocol: Any) -> None:
        assert self.protocol is None
        self.protocol = protocol
        protocol.makeConnection(self.transport)
        if self.length == 0:
            self.end()

    def setPreviousResponse(self, response: Any) -> None:
        raise NotImplementedError

    def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.protocol.dataReceived(piece)

    def end(self, reason: Exception | None = None) -> None:
        self.protocol.connectionLost(Failure(reason or ResponseDone()))


class Asked:
    """One request."""

    def __init__(self, method: bytes, uri: bytes, headers: Headers | None, body: Any) -> None:
        self.method, self.uri, self.headers, self.body = method, uri, headers or Headers(), body
        self.cancelled = False
        self.deferred: Deferred[Any] = Deferred(self._cancel)

    def _cancel(self, deferred: Deferred[Any]) -> None:
        self.cancelled = True

    def header(self, name: str) -> str | None:
        values = self.headers.getRawHeaders(name)
        return values[0] if values else None

    def answer(self, code: int = 200, headers: dict[str, str] = STREAM, length: Any = "unknown") -> ScriptedResponse:
        response = ScriptedResponse(code, headers, length)
        self.deferred.callback(response)
        return response

    def fail(self, error: Exception) -> None:
        self.deferred.errback(Failure(error))


@implementer(IAgent)
class ScriptedAgent:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.raises: Exception | None = None

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None
    ) -> Deferred[Any]:
        if self.raises is not None:
            raise self.raises
        self.asked.append(Asked(method, uri, headers, bodyProducer))
        return self.asked[-1].deferred

    @property
    def last(self) -> Asked:
        return self.asked[-1]
