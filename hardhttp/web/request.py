"""A request, as ``twisted.web`` applications know it, made of what is asked for.

``Request`` is a ``twisted.web.server.Request``: it provides ``IRequest`` and every attribute of the
old one, but headers, arguments, cookies, content and addresses come into being when something asks
for them. An answer that is one piece of bytes, which is most of them, goes out as one write.

What differs from ``twisted.web``, because the old way leaks or falls over:

- a write to a request that has ended does nothing, is counted, and raises nothing;
- ``notifyFinish`` fires also when it is asked for after the end;
- ``render_*`` may return ``str``, ``None`` with status 204, a Deferred or a coroutine;
- a failed handler answers 500 with an id that is in the log.

A request is held by its channel alone, and lets go of everything when it ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from io import BytesIO
from types import MappingProxyType
from typing import IO, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.resource import IResource

from hardhttp.net.channel import Channel
from hardhttp.web.asking import Asking
from hardhttp.web.body import BodyStore
from hardhttp.web.clientinfo import Told
from hardhttp.web.forms import Args, parse_query
from hardhttp.web.handling import Handling
from hardhttp.web.hints import Hinting
from hardhttp.web.lazy import lazy
from hardhttp.web.responding import SERVER_NAME
from hardhttp.web.streaming import StreamedBody
from hardhttp.web.watching import Watched
from hardhttp.wire.cookies import parse_cookies
from hardhttp.wire.head import Head

__all__ = ["SERVER_NAME", "Request"]


class Request(Watched, Told, Hinting, Asking, Handling):
    """One request and the response to it.

    ``requestFactory`` may be a subclass, see ``hardhttp.web.adapting``. Overridden ``write``, ``finish``,
    ``process``, ``handleContentChunk`` and ``requestReceived`` are called as ``twisted.web`` calls them.
    """

    __hash__ = object.__hash__
    _log = Logger(namespace="hardhttp")

    _adapted: ClassVar[bool] = False

    site: Any
    sitepath: list[bytes]
    queued = False
    route: Any = None  # what a router has found
    route_params: Mapping[str, Any] = MappingProxyType({})
    channel: Any = None
    trailers: list[tuple[bytes, bytes]] = []
    etag: bytes | None = None
    lastModified: int | None = None
    receivedBytes = 0
    _started_seconds = 0.0
    _first_seconds: float | None = None  # until the answer's first byte, where its last one is not sent with it
    _store: BodyStore | None = None
    _streamed: StreamedBody | None = None
    _remaining: int | None = None
    _transport_was_asked_for = False
    _parsePOSTFormSubmission = True

    def __init__(self, channel: Channel, *args: Any, parsePOSTFormSubmission: bool | None = None, **kw: Any) -> None:
        # What every request reads is set here: an instance's own attributes are found fastest, as long as
        # there are at most thirty (CPython 3.11 keeps no more beside the object itself).
        self.channel = channel
        self.site = channel.site
        self.head: Head | None = None
        self.code = 200
        self.code_message = b"OK"
        self.startedWriting = 0
        self.finished = 0
        self.producer = None
        self.notifications: Any = None
        self._encoder: Any = None
        self._end: Failure | None = None
        self._headers: Headers | None = None
        self._plain: dict[bytes, bytes] | None = None  # fields set so far, while they are simple enough
        self._cookies: list[bytes] | None = None
        self._pending: Deferred[Any] | None = None
        if parsePOSTFormSubmission is not None:
            self._parsePOSTFormSubmission = parsePOSTFormSubmission

    # -- what is made when asked for ----------------------------------------------------------

    @lazy
    def requestHeaders(self) -> Headers:
        headers = Headers()
        if self.head is not None:
            for name, value in self.head.fields:
                headers.addRawHeader(name, value)
            if self.head.authority is not None:
                headers.setRawHeaders(b"host", [self.head.authority])
        return headers

    @lazy
    def args(self) -> Args:
        """Query and form fields. Raises ``Fault`` (400, 413) for a form that cannot be taken."""
        limits = self.site.limits
        args = parse_query(self.uri.partition(b"?")[2], limits)
        content_type = self.getHeader(b"content-type")
        wanted = self._parsePOSTFormSubmission and self.site._parsePOSTFormSubmission
        if self.method == b"POST" and content_type and self.receivedBytes and wanted:
            args.update(self._form_args())
        return args

    @lazy
    def received_cookies(self) -> dict[bytes, bytes]:
        fields = () if self.head is None else self.head.fields
        return parse_cookies([value for name, value in fields if name == b"cookie"], self.site.limits.max_cookies)

    @lazy
    def content(self) -> IO[bytes]:
        return BytesIO() if self._store is None else self._store.file()

    @lazy
    def host(self) -> Any:
        return None if self.channel is None else self.channel.getHost()

    @lazy
    def transport(self) -> Any:
        self._transport_was_asked_for = True
        return None if self.channel is None else self.channel.transport

    @lazy
    def _adapterCache(self) -> dict[Any, Any]:
        return {}

    @property
    def elapsed_seconds(self) -> float:
        """Since the head was whole."""
        return float(self.site.server.seconds() - self._started_seconds)

    def getHeader(self, key: Any) -> Any:
        """The last value of a header field, or ``None``."""
        if "requestHeaders" in self.__dict__ or type(key) is not bytes:
            return super().getHeader(key)
        wanted, found = key.lower(), None
        if wanted == b"cookie":
            return super().getHeader(key)  # it leaves a trace: compression must know who looked
        if self.head is not None:
            for name, value in self.head.fields:
                if name == wanted:
                    found = value
            if wanted == b"host":
                found = self.head.authority
        return found

    def getStateToCopyFor(self, issuer: Any) -> Any:
        for name in ("requestHeaders", "args", "received_cookies", "content", "client", "host", "transport"):
            getattr(self, name)
        state = super().getStateToCopyFor(issuer)
        left_out = ("head", "query", "user_data")
        return {name: value for name, value in state.items() if name not in left_out and not name.startswith("_")}

    def getTypeToCopy(self) -> bytes:
        return b"twisted.web.server.Request"  # what twisted.web.distrib admits

    # -- the channel's side: the message comes in ---------------------------------------------

    def gotHead(self, head: Head) -> None:
        """The head is whole; nothing of the body has been read."""
        if self._adapted and "head" not in self.__dict__:
            self._begin_again()
        self.head = head
        self.method = head.method
        self.uri = target = head.target
        self.clientproto = head.version
        # 0x3F, not b"?": CPython asks first whether it is an int, by an exception, and takes six times as long.
        self.path = target if 0x3F not in target else target.partition(b"?")[0]
        self._started_seconds = self.site.server.now

    def _begin_again(self) -> None:
        """``twisted.web``'s own ``__init__`` has set what is made on demand here."""
        headers, cookies = self._headers, self._cookies
        Request.__init__(self, self.channel)
        for name in ("requestHeaders", "received_cookies", "client", "host", "transport", "args"):
            self.__dict__.pop(name, None)
        self._cookies = cookies or None
        self.notifications = []  # its finish, called by name, goes through them
        for field, values in headers.getAllRawHeaders() if headers is not None else ():
            self.responseHeaders.setRawHeaders(field, values)

    def streamBody(self) -> bool:
        """Whether a streaming resource takes the body; if so it has been called."""
        resource = self.site.getStreamingResourceFor(self)
        if resource is None:
            return False
        self._streamed = StreamedBody(self)
        # RFC 9112, 9.6: an answer that begins before the body is whole may end the connection, and says so.
        self.channel.keep_alive = False
        if not (self.site.loads_sessions and self._load_session(partial(self._render_stream, resource))):
            self._render_stream(resource)
        return True

    def _render_stream(self, resource: IResource) -> None:
        try:
            self.render(resource)
        except BaseException:
            self._raised()

    @property
    def wantsBody(self) -> bool:
        return self._streamed is not None and self._streamed.receiver is not None

    @property
    def heldBytes(self) -> int:
        """Body bytes in memory."""
        return 0 if self._store is None else self._store.held_bytes

    def handleContentChunk(self, data: bytes) -> None:
        """A piece of the body."""
        self.receivedBytes += len(data)
        if self._streamed is not None:
            try:
                self._streamed.deliver(data)
            except BaseException:
                self._raised()
            return
        if self._store is None:
            self._store = BodyStore(self.site.limits.spool_bytes)
        self._store.write(data)

    @property
    def streams(self) -> bool:
        """Whether a streaming resource takes the body."""
        return self._streamed is not None

    def bodyEnded(self) -> None:
        """The body is whole: a streaming resource is told."""
        if self._streamed is not None:
            if not self.startedWriting and self.channel is not None and self.head is not None:
                self.channel.keep_alive = self.head.keep_alive and not self.site.server.draining
            self._streamed.ended(None)

    def deliverBody(self, receiver: IProtocol) -> None:
        """Take the body as it comes (see ``IStreamingResource``)."""
        streamed = self._streamed
        if streamed is None:
            late = self.finished or self._end is not None
            if self._store is not None and not late:
                raise RuntimeError("only a resource that provides IStreamingResource gets the body as it comes")
            streamed = StreamedBody(self)
            streamed.ended(Failure(ConnectionLost()) if late else None)  # a body that is not there is whole
        streamed.deliver_to(receiver)

    # -- ends ---------------------------------------------------------------------------------

    def _finished(self) -> None:
        """Let go of everything, and let the channel go on."""
        self.finished = 1
        site, channel = self.site, self.channel
        if self.producer is not None:
            self._log.warn("{path!r}: the response ended with its producer registered", path=self.path)
            self.unregisterProducer()
        server = site.server
        seconds = server.seconds() - self._started_seconds
        server.statistics.response(self.method, self.code, seconds, self._first_seconds)
        if site.logs:
            site.log(self)
        notifications, self.notifications = self.notifications, None
        if notifications:
            self._keep_addresses()
        self._release()
        channel.requestDone(self)
        if notifications:
            for notification in notifications:
                notification.callback(None)

    def _release(self) -> None:
        """Let go of the connection, the body and whatever was to be called."""
        self.channel = None
        if self._session_made is not None:
            self._session_made.end(whole=bool(self.finished))
        if self._store is not None or self._streamed is not None or self._transport_was_asked_for:
            if self._form_body is not None:
                self._form_body.close()  # its uploads first: a thread may be reading one
                self._form_body = self._form = None
            content = self.__dict__.pop("content", None)
            if content is not None:
                content.close()
            if self._store is not None:
                self._store.close()
            streamed, self._streamed = self._streamed, None
            if streamed is not None:
                self.site.server.guard(streamed.ended, Failure(ConnectionLost()))
            self.__dict__.pop("transport", None)
        if self._pending is not None or self._drain_calls is not None:
            self._pending = self._drain_calls = None

    def _keep_addresses(self) -> None:
        """Whoever is told of the end may ask whose it was."""
        self.client, self.host  # noqa: B018

    def connectionLost(self, reason: Failure) -> None:
        """Nobody waits for the response any more."""
        if self.finished or self._end is not None:
            return
        self._end = reason
        self._disconnected = True
        for watcher in self._watchers():
            watcher.count_past()
        if self.site.logs:
            self.site.log_unfinished(self, reason)
        pending, self.producer = self._pending, None
        notifications, self.notifications = self.notifications, None
        self._keep_addresses()
        self._release()
        for notification in notifications or ():
            notification.errback(reason)
        if pending is not None:
            pending.cancel()

    def loseConnection(self) -> None:
        if self.channel is not None:
            self.channel.loseConnection()
