"""A body on its way to a streaming resource, with backpressure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from zope.interface import implementer

from hardhttp.interfaces import IRoutesStreams, IStreamingResource

if TYPE_CHECKING:
    from hardhttp.web.request import Request

__all__ = ["StreamedBody", "streaming_below"]


@implementer(IPushProducer)
class StreamedBody:
    """The ``transport`` of the protocol that takes a request's body."""

    def __init__(self, request: Request) -> None:
        self._request: Request | None = request
        self._early: Failure | None = None
        self.receiver: IProtocol | None = None
        self.disconnecting = False

    def deliver_to(self, receiver: IProtocol) -> None:
        """From now on the body goes to ``receiver``."""
        if self.receiver is not None:
            raise RuntimeError("the body is delivered to another protocol already")
        self.receiver = receiver
        receiver.makeConnection(self)  # type: ignore[arg-type]
        if self._early is not None:
            self._tell(self._early)
        elif self._request is not None and self._request.channel is not None:
            self._request.channel.invite_body()

    def deliver(self, piece: bytes) -> None:
        if self.receiver is not None:
            self.receiver.dataReceived(piece)

    def ended(self, reason: Failure | None) -> None:
        """The body is whole (``None``), or will never be."""
        outcome = Failure(ConnectionDone("the body is whole")) if reason is None else Failure(ConnectionLost())
        self._request = None
        if self.receiver is None:
            self._early = outcome
        else:
            self._tell(outcome)

    def _tell(self, outcome: Failure) -> None:
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.connectionLost(outcome)

    # -- IPushProducer, and as much of a transport as protocols use -----------------------------

    def _channel(self) -> Any:
        return None if self._request is None else self._request.channel

    def pauseProducing(self) -> None:
        if (channel := self._channel()) is not None:
            channel.pause_body()

    def resumeProducing(self) -> None:
        if (channel := self._channel()) is not None:
            channel.resume_body()

    def stopProducing(self) -> None:
        self.loseConnection()

    def loseConnection(self) -> None:
        """Take no more of the body: the connection is closed."""
        self.disconnecting = True
        if (channel := self._channel()) is not None:
            channel.loseConnection()

    def getPeer(self) -> Any:
        return self._request.getClientAddress() if self._request is not None else None

    def getHost(self) -> Any:
        return self._request.getHost() if self._request is not None else None


def streaming_below(resource: Any, request: Any, path: list[bytes], rest: list[bytes]) -> IStreamingResource | None:
    """Walk from ``resource`` to one that takes the body as it comes; ``None`` when there is none.

    ``path`` and ``rest`` become its ``prepath`` and ``postpath``.
    """
    while rest and not resource.isLeaf:
        segment = rest.pop(0)
        path.append(segment)
        request.prepath, request.postpath = path, rest
        if IStreamingResource.providedBy(resource):
            resource = resource.getChildWithDefault(segment, request)
        elif type(resource).getChildWithDefault is Resource.getChildWithDefault and segment in resource.children:
            resource = resource.children[segment]
        else:
            return None
    if IRoutesStreams.providedBy(resource):
        request.prepath, request.postpath, request.sitepath = path, rest, []
        resource = resource.streaming_resource(request)
    return resource if IStreamingResource.providedBy(resource) else None
