"""A resource around another, wherever that is mounted.

A wrapper takes no part in finding the resource: when the walk comes to it, it does its own work and
gives the segment back, so that whoever walks goes on at what it wraps, with ``prepath`` and
``postpath`` as they would be without it. So it is transparent for leaves, for trees, for routers and
for resources that stream, under ``twisted.web`` too, and the applications below pay for it once a request.
"""

from __future__ import annotations

from typing import Any

from twisted.web.resource import IResource, _IEncodingResource
from zope.interface import implementer

from hardhttp.interfaces import IRoutesStreams, IStreamingResource

__all__ = ["Answer", "Wrapper"]


@implementer(IStreamingResource, IRoutesStreams)
class Wrapper:
    """What ``begin`` does with each request, around ``resource``.

    It provides ``IStreamingResource`` only so that what it wraps may.
    """

    isLeaf = False

    def __init__(self, resource: IResource) -> None:
        if not IResource.providedBy(resource):
            raise TypeError(f"{type(self).__name__} wraps an IResource, not a {type(resource).__name__}")
        self.resource: Any = resource

    def begin(self, request: Any) -> IResource | None:
        """A request is on its way to what is wrapped; return a resource to answer in its place.

        It is called again for the same request where the tree is walked twice.
        """
        raise NotImplementedError

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        request.postpath.insert(0, request.prepath.pop())
        instead = self.begin(request)
        return self.resource if instead is None else instead

    def putChild(self, path: bytes, child: IResource) -> None:
        """Put ``child`` under what is wrapped."""
        self.resource.putChild(path, child)

    def render(self, request: Any) -> Any:
        """The walk ends here: at the very path this is mounted at."""
        instead = self.begin(request)
        if instead is not None:
            return instead.render(request)
        resource = self.resource
        if _IEncodingResource.providedBy(resource):
            request._encoder = resource.getEncoder(request)
        return resource.render(request)

    def streaming_resource(self, request: Any) -> Any:
        """The same, before the body has come."""
        instead = self.begin(request)
        if instead is not None:
            return instead
        if IRoutesStreams.providedBy(self.resource):
            return self.resource.streaming_resource(request)
        return self.resource if IStreamingResource.providedBy(self.resource) else None

    @property
    def handling_seconds(self) -> float | None:
        """What is wrapped may have a deadline of its own."""
        seconds: float | None = getattr(self.resource, "handling_seconds", None)
        return seconds


@implementer(IStreamingResource)
class Answer:
    """What is answered in place of a resource: ``respond(request)``, before any body is read."""

    isLeaf = True

    def __init__(self, respond: Any) -> None:
        self._respond = respond

    def getChildWithDefault(self, path: bytes, request: Any) -> Any:
        return self

    def putChild(self, path: bytes, child: IResource) -> None:
        raise TypeError("an answer has no children")

    def render(self, request: Any) -> Any:
        return self._respond(request)
