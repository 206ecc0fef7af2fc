"""``WebSocketResource``: WebSockets as a resource, wherever in a tree it is.

    async def echo(socket):
        async for message in socket:
            await socket.send(message)

    root.putChild(b"echo", WebSocketResource(echo))

The handshake is judged whole, by its head, before anything is made for it; what is refused gets a complete answer
of HTTP, and leaves nothing. A page of another origin is let in only when it was named: a browser sends its user's
cookies with every WebSocket, whatever page opens it, and asks nobody.

What happens on an open socket is in ``hardhttp.web.opensocket``. A resource holds only its open sockets; each of them
belongs to its connection. Whether that is one of HTTP/1.1 or a stream of HTTP/2 (RFC 8441) shows here alone:
``channel.is_extended_connect`` makes the handshake one of CONNECT (which is GET to all who look at the request),
answered with 200, and ``channel.upgrade(socket)`` hands the socket its ``Carrier``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import HTTPError
from hardhttp.web.cors import Origins, own_origin
from hardhttp.web.opensocket import Application, Ended, WebSocket, WebSocketClosed
from hardhttp.web.results import is_later
from hardhttp.wire.grammar import TOKEN
from hardhttp.wire.websocket import Bounds, Message
from hardhttp.wire.websocketdeflate import Deflate
from hardhttp.wire.websockethandshake import Handshake, HandshakeRefused, Offer, judge

if TYPE_CHECKING:
    from hardhttp.wire.websocketframes import Frames

__all__ = ["Deflate", "Ended", "WebSocket", "WebSocketClosed", "WebSocketResource"]


class WebSocketResource(Resource):
    """A leaf that opens WebSockets.

    Either ``handler``, a coroutine function that is called with each ``WebSocket`` and reads from it; when it
    returns the socket is closed. Or callbacks: ``on_connect(socket)``, and ``on_message(socket, message)`` for each
    message, ``str`` or ``bytes``. They may be coroutine functions or return a ``Deferred``: the next message waits
    until that is done. What they raise costs that socket alone (1011). A handler, or a callback that is not done,
    is cancelled when its connection has ended. ``on_close(socket)`` is told of each end, once.

    - ``admit(request)`` is asked before a socket is opened: ``False`` refuses it (403), an ``HTTPError`` with its own
      answer. It may be a coroutine function;
    - ``subprotocols``: those that are spoken, the one that is liked best first;
    - ``origins``: pages that may open one, besides the server's own; see ``hardhttp.web.cors.Origins``. ``["*"]``
      is any. Whoever sends no Origin is no page, and is let in;
    - ``deflate``: whether messages are compressed for clients that offer it: ``True``, or a ``Deflate``.

    Bounds and deadlines are the site's ``Limits``. ``ends`` counts the sockets that have ended, by ``Ended``,
    ``refused`` the handshakes that were not accepted. Raises ``ValueError`` and ``TypeError`` for what cannot be.
    """

    isLeaf = True
    log = Logger(namespace="hardhttp")

    def __init__(
        self,
        handler: Callable[[WebSocket], Any] | None = None,
        *,
        on_connect: Callable[[WebSocket], Any] | None = None,
        on_message: Callable[[WebSocket, Message], Any] | None = None,
        on_close: Callable[[WebSocket], object] | None = None,
        admit: Callable[[Any], Any] | None = None,
        subprotocols: Iterable[str] = (),
        origins: Iterable[str] = (),
        deflate: Deflate | bool = False,
    ) -> None:
        super().__init__()
        if (handler is None) == (on_message is None) or (handler is not None and on_connect is not None):
            raise TypeError("a WebSocketResource takes a handler, or on_message and perhaps on_connect")
        self._application = Application(handler or on_connect, on_message, self.ended)
        self._on_close = on_close
        self._admit = admit
        self._origins = None if not isinstance(origins, str) and not (origins := list(origins)) else Origins(origins)
        self._subprotocols = _names(subprotocols)
        self._deflate = Deflate() if deflate is True else deflate or None
        self._frames = _frames()
        self._sockets: dict[WebSocket, None] = {}
        self.ends: dict[Ended, int] = dict.fromkeys(Ended, 0)
        self.refused = 0

    # -- open sockets ---------------------------------------------------------------------------

    @property
    def socket_count(self) -> int:
        """How many are open."""
        return len(self._sockets)

    def sockets(self) -> list[WebSocket]:
        """Those that are open."""
        return list(self._sockets)

    def close_all(self, code: int = 1000, text: str = "") -> int:
        """Close every socket; how many they were."""
        sockets = tuple(self._sockets)
        for socket in sockets:
            socket.close(code, text)
        return len(sockets)

    def ended(self, socket: WebSocket) -> None:
        """The way out of each socket."""
        self._sockets.pop(socket, None)
        self.ends[socket.reason or Ended.LOST] += 1
        if self._on_close is not None:
            try:
                self._on_close(socket)
            except Exception:
                self.log.failure("on_close failed")

    # -- the handshake --------------------------------------------------------------------------

    def render(self, request: Any) -> Any:
        try:
            handshake = self._judge(request)
            admitted = None if self._admit is None else self._admit(request)
        except HTTPError:
            self.refused += 1
            raise
        if is_later(admitted):
            return self._admit_later(request, handshake, admitted)
        return self._open(request, handshake, admitted)

    async def _admit_later(self, request: Any, handshake: Handshake, later: Any) -> Any:
        """The request is not answered meanwhile; what its client sends behind it waits, within a bound."""
        try:
            admitted = await later
        except HTTPError:
            self.refused += 1
            raise
        return self._open(request, handshake, admitted)

    def _judge(self, request: Any) -> Handshake:
        """What is agreed on. Raises ``HTTPError``."""
        head, channel = getattr(request, "head", None), request.channel
        if head is None or not hasattr(channel, "upgrade"):
            raise HTTPError(501, "This server does not open WebSockets.")
        if request.site.server.draining:
            raise HTTPError(503, "The server is stopping.", {"Retry-After": "5"})
        offer = Offer(self._subprotocols, lambda origin: self._allows(request, origin), self._deflate)
        extended = getattr(channel, "is_extended_connect", False)
        if extended:
            channel.expect_upgrade()
        try:
            return judge(request.method, head.version, head.fields, offer, extended_connect=extended)
        except HandshakeRefused as refused:
            raise HTTPError(refused.status, refused.detail, refused.headers) from None

    def _allows(self, request: Any, origin: bytes) -> bool:
        return origin == own_origin(request) or (self._origins is not None and origin in self._origins)

    def _open(self, request: Any, handshake: Handshake, admitted: Any) -> Any:
        """Answer the handshake, and hand the connection over."""
        if admitted is False:
            self.refused += 1
            raise HTTPError(403, "This WebSocket may not be opened.")
        self.begin(request, handshake)
        return NOT_DONE_YET

    def begin(self, request: Any, handshake: Handshake) -> None:
        """Nothing stands against it any more but what this raises (``HTTPError``)."""
        self.start(request, handshake, self._application)

    def start(self, request: Any, handshake: Handshake, application: Application) -> WebSocket:
        """Open a socket for ``application``."""
        channel = request.channel
        limits = request.site.limits
        bounds = Bounds(limits.max_websocket_message_bytes, limits.max_websocket_frames)
        socket = WebSocket(request, handshake, application, self._frames(bounds, handshake.deflate))
        if getattr(channel, "is_extended_connect", False):
            request.defaultContentType = None  # RFC 8441, 5.1: a 200 without content, nothing to compress
        else:
            request.setResponseCode(101)
            request.setHeader(b"Upgrade", b"websocket")
            request.setHeader(b"Connection", b"Upgrade")
        for name, value in handshake.fields:
            request.setHeader(name, value)
        request.write(b"")
        request.site.server.statistics.response(request.method, request.code)
        if request.channel is None:  # it went while it was answered
            socket.connectionLost(None)
            return socket
        self._sockets[socket] = None
        request.watch(socket)
        channel.upgrade(socket)
        return socket


def _names(subprotocols: Iterable[str]) -> tuple[bytes, ...]:
    if isinstance(subprotocols, (str, bytes)):
        raise ValueError(f"subprotocols is {subprotocols!r}; it must be a list of names")
    names = tuple(name.encode("utf-8") for name in subprotocols)
    for name in names:
        if TOKEN.fullmatch(name) is None:
            raise ValueError(f"subprotocols has {name.decode('utf-8')!r}; each must be a token")
    return names


def _frames() -> type[Frames]:
    """Raises ``ImportError`` that says what to install."""
    try:
        from hardhttp.wire.websocketframes import Frames
    except ImportError as error:
        raise ImportError(f"WebSockets need wsproto: pip install 'hardhttp[websocket]' ({error})") from error
    return Frames
