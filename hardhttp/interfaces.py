"""The interfaces an application may implement, or be handed."""

from __future__ import annotations

from twisted.web.resource import IResource

__all__ = ["IStreamingResource"]


class IStreamingResource(IResource):
    """A resource that sees a request's head before its body has come.

    ``render`` is called as soon as the head is complete. The body is not read, and no
    ``100 Continue`` is sent, until the resource calls ``request.deliverBody(protocol)``; then
    ``protocol`` (an ``IProtocol``) gets it as it arrives: ``dataReceived`` for each piece, at last
    ``connectionLost`` with ``ConnectionDone`` when the body was whole and with another reason when
    it was not. Its ``transport`` is an ``IPushProducer``: ``pauseProducing`` stops the client.
    ``request.content`` stays empty. A response finished before the body has ended closes the
    connection, and ``connectionLost`` says so. A body that is not there is whole at once.

    The way to such a resource is found before the body too: each resource on it must either hold
    the next one in ``children``, or provide ``IStreamingResource`` itself.
    """
