"""The interfaces an application may implement, or be handed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import attrs
from twisted.web.resource import IResource
from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from hardhttp.limits import Limits

__all__ = ["IRoutesStreams", "ISessionStore", "IStreamingResource", "SessionRecord", "SessionTimes"]


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


class IRoutesStreams(IResource):
    """A leaf that knows by a request's head whether one of its handlers takes the body as it comes."""

    def streaming_resource(request: object) -> IStreamingResource | None:
        """What is to be rendered before the body has come, or ``None``: then ``render`` is called after it.

        ``request.prepath`` and ``request.postpath`` are as ``render`` would find them. Must not fail.
        """


@attrs.frozen
class SessionTimes:
    """Seconds since the epoch."""

    created_at: float
    last_accessed_at: float
    expires_at: float


@attrs.frozen
class SessionRecord:
    """A session as a store holds it: the JSON text of each value, by its key."""

    values: dict[str, str] = attrs.field(repr=False)
    times: SessionTimes


class ISessionStore(Interface):
    """Where sessions are kept. Every method returns a ``Deferred``, and none raises.

    ``key`` is the digest of a session's id: no store ever sees an id. Time is the caller's: a store
    reads no clock to tell what has expired. A session is there until ``expires_at``, and at that instant
    it is gone; whether its bytes are still kept shows in ``count`` alone, until the next ``sweep``.

    What a store cannot do (its server is away, its disk is full) fails the Deferred with ``StoreError``,
    soon: no call waits without a bound, and no more calls wait than a bound allows. What failed so may have
    been done all the same, when it was the answer that was lost.

    A store with an attribute ``answers_at_once`` that is true has fired each Deferred when it returns it.
    """

    evicted = Attribute("How many sessions this store has given up so far to stay within the limits.")

    def load(key: bytes, now: float) -> Deferred[SessionRecord | None]:
        """The session, or ``None`` when there is none at ``now``. Not an access: it changes nothing."""

    def save(
        key: bytes, changes: Mapping[str, str | None], times: SessionTimes, limits: Limits, create: bool
    ) -> Deferred[bool]:
        """Merge ``changes`` into the session at once as a whole: a text sets its key, ``None`` removes it.

        Keys not named stay as they are, whoever set them. With ``create`` a session that is not there (at
        ``times.last_accessed_at``) is made, of no changes too; without, ``False`` is the answer and nothing is
        stored: what was abandoned stays gone. ``created_at`` of a session that is there does not change.

        A session that would grow past ``limits.max_session_bytes``, or alone past ``max_sessions_bytes``, is
        left as it was and the Deferred fails with ``SessionTooLargeError``. Past ``max_sessions`` or
        ``max_sessions_bytes`` the sessions whose last access is oldest are given up, this one last, and
        counted in ``evicted``. A session's bytes are its keys' and values' as UTF-8; any text may be stored,
        a lone surrogate (three bytes) too.
        """

    def touch(key: bytes, times: SessionTimes) -> Deferred[bool]:
        """Note an access; ``False`` when there is no such session at ``times.last_accessed_at``."""

    def rename(old: bytes, new: bytes) -> Deferred[bool]:
        """Keep the session under ``new`` and no longer under ``old``; ``False`` when there is none.

        What was under ``new`` before is forgotten.
        """

    def delete(key: bytes) -> Deferred[bool]:
        """Forget the session; whether there was one."""

    def sweep(now: float) -> Deferred[int]:
        """Forget what has expired; how many those were."""

    def count() -> Deferred[int]:
        """How many sessions are kept, those included that have expired since the last ``sweep``."""

    def close() -> Deferred[None]:
        """Write what is not written, and let go of files, threads and connections.

        The store may be used again after that.
        """
