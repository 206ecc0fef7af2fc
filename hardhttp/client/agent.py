"""The agent: an ``IAgent`` whose every request ends.

It turns what is asked into an exchange and gives it to the pool; nothing is kept here. What would split
a request, or say twice how long it is, is refused before a connection is thought of.

Redirects, decoding, retries and cookies are agents around this one, or treq's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred, fail
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IAgent, IBodyProducer, IPolicyForHTTPS, IResponse
from zope.interface import implementer

from hardhttp.client.endpoints import Endpoints, Route, Routes
from hardhttp.client.errors import AgentClosed, ClientReason, RequestRefused
from hardhttp.client.exchange import Exchange, answer_bounds
from hardhttp.client.limits import ClientLimits
from hardhttp.client.pool import Pool
from hardhttp.client.proxies import Proxy
from hardhttp.client.proxyroutes import proxy_routes
from hardhttp.client.sending import WITH_HEAD_BYTES, BytesBody
from hardhttp.client.statistics import ClientStatistics
from hardhttp.client.uri import Address, parse_uri
from hardhttp.net.ledger import Ledger
from hardhttp.wire.grammar import HOST, list_items
from hardhttp.wire.requesthead import encode_request

__all__ = ["Agent"]

# Fields that frame a request or its connection: looked at before they are sent.
_FRAMING = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade"})
# RFC 9110, 8.6: a request without a body whose method is meant to have one says so.
_NEED_LENGTH = frozenset({b"POST", b"PUT", b"PATCH"})


def _http2(*, required: bool) -> Any:
    """What speaks HTTP/2, where its library is installed. Raises ``ImportError`` when it is not and must be."""
    try:
        from hardhttp.client.http2 import Connection2
    except ImportError:
        if required:
            raise
        return None
    return Connection2


@implementer(IAgent)
class Agent:
    """HTTP/1.1 and HTTP/2 over TCP, TLS and Unix sockets, every resource bounded by ``limits``.

    ``reactor`` connects and is the clock. A host's certificate is verified for its name, against
    ``trust_root`` or the platform's roots; ``tls_policy`` (an ``IPolicyForHTTPS``) may decide otherwise. With
    ``unix_socket`` every request goes to that socket; ``http+unix://%2Frun%2Fx.sock/path`` names one in a
    URI. ``proxy`` is a ``Proxy``, its URL, or ``"environment"``, which asks ``HTTPS_PROXY`` and the others
    for each new connection (``hardhttp.client.proxies``). ``routes`` is asked how to reach a host, in place of
    all these.

    ``http2`` says whether HTTP/2 is offered over TLS; left out, it is if the ``h2`` library is installed. A
    ``tls_policy`` or ``routes`` decide that themselves. With ``http2_prior_knowledge`` it is spoken without TLS too,
    to every host: only where all of them are known to.

    ``ledger.snapshot()`` says what is held, by kind, and ``statistics`` what was done.
    """

    takes_limits = True  # see ``hardhttp.client.layers``

    def __init__(
        self,
        reactor: Any,
        limits: ClientLimits | None = None,
        *,
        tls_policy: IPolicyForHTTPS | None = None,
        trust_root: Any = None,
        unix_socket: str | None = None,
        bind_address: str | None = None,
        proxy: Proxy | str | None = None,
        routes: Routes | None = None,
        http2: bool | None = None,
        http2_prior_knowledge: bool = False,
    ) -> None:
        self.limits = ClientLimits() if limits is None else limits
        self._bounds = answer_bounds(self.limits)
        self.clock = reactor
        if http2 is False and http2_prior_knowledge:
            raise ValueError("http2_prior_knowledge: HTTP/2 is not spoken at all with http2=False")
        speaks = None if http2 is False else _http2(required=bool(http2) or http2_prior_knowledge)
        self._pool = Pool(reactor, self.limits, speaks, prior_knowledge=http2_prior_knowledge)
        if routes is None:
            routes = endpoints = Endpoints(
                reactor, self.limits, tls_policy, unix_socket, bind_address, trust_root, http2=speaks is not None
            )
            if proxy is not None:
                if unix_socket is not None:
                    raise ValueError("unix_socket and proxy: a request goes one way or the other")
                routes = proxy_routes(reactor, self.limits, endpoints, proxy)
        self._routes = routes
        self._ended: Deferred[None] | None = None

    @property
    def ledger(self) -> Ledger:
        return self._pool.ledger

    @property
    def statistics(self) -> ClientStatistics:
        return self._pool.statistics

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
        *,
        limits: ClientLimits | None = None,
    ) -> Deferred[IResponse]:
        """Ask ``uri``. The Deferred fires with the response's head; its body is ``deliverBody``'s.

        ``limits`` are for this request alone, the pool's counts apart. Cancelling the Deferred, at any
        moment, lets go of everything. It fails with a ``ClientError``, or with what Twisted raises when a
        name is not found or a connection is refused; ``reason_of`` has a code for each.
        """
        pool = self._pool
        pool.statistics.requests += 1
        try:
            if self._ended is not None:
                raise AgentClosed(ClientReason.AGENT_CLOSED, "the agent has been closed")
            address = parse_uri(uri)
            host = pool.host(address.key)
            route = self._routes.route(*address.key) if host is None else host.route
            bounds = self._bounds if limits is None else answer_bounds(limits)
            exchange = Exchange(method, uri, headers or Headers(), bodyProducer, limits or self.limits, bounds)
            self._write_head(exchange, address, route)
        except (RequestRefused, AgentClosed) as error:
            pool.statistics.failed[error.reason.value] += 1
            return fail(error)
        except SchemeNotSupported as error:
            pool.statistics.failed[ClientReason.BAD_URI.value] += 1
            return fail(error)
        deferred: Deferred[IResponse] = Deferred(exchange.cancel)
        exchange.deferred = deferred
        pool.submit(exchange, address.key, route)
        return deferred

    def close(self) -> Deferred[None]:
        """End every request and close every connection; fires when the last socket is gone."""
        if self._ended is None:
            self._ended = Deferred()  # whoever is told of the end may ask again: it is refused
            self._pool.close().chainDeferred(self._ended)
        waiting: Deferred[None] = Deferred()
        self._ended.chainDeferred(waiting)
        return waiting

    # -- the head -------------------------------------------------------------------------------

    def _write_head(self, exchange: Exchange, address: Address, route: Route) -> None:
        """Make the bytes of the request. Raises ``RequestRefused``."""
        fields: list[tuple[bytes, bytes]] = [(b"Host", address.field)]
        producer = exchange.producer
        length: Any = None if producer is None else producer.length
        if producer is not None and length is not UNKNOWN_LENGTH and not (isinstance(length, int) and length >= 0):
            # Sent all the same, its bytes would be the next request.
            text = "the length of a body is a number from 0, or UNKNOWN_LENGTH"
            raise RequestRefused(ClientReason.BAD_METHOD_OR_FIELD, text)
        for name, values in exchange.headers.getAllRawHeaders():
            if name.lower() in _FRAMING:
                self._frame(exchange, fields, name, values, length)
            else:
                fields += [(name, value) for value in values]
        fields += route.fields
        if length is UNKNOWN_LENGTH:
            fields.append((b"Transfer-Encoding", b"chunked"))
        elif length is not None:
            fields.append((b"Content-Length", b"%d" % length))
        elif exchange.method in _NEED_LENGTH:
            fields.append((b"Content-Length", b"0"))
        if not self.limits.max_idle_connections:
            exchange.keep_alive = False
        if not exchange.keep_alive:
            fields.append((b"Connection", b"close"))
        try:
            target = address.absolute if route.absolute_form else address.target
            exchange.target, exchange.fields = target, fields
            exchange.head = encode_request(exchange.method, target, fields)
        except ValueError as error:
            raise RequestRefused(ClientReason.BAD_METHOD_OR_FIELD, str(error)) from None
        if isinstance(producer, BytesBody) and not exchange.expects and producer.length <= WITH_HEAD_BYTES:
            exchange.content = producer.content
            exchange.producer = None

    def _frame(
        self, exchange: Exchange, fields: list[tuple[bytes, bytes]], name: bytes, values: Sequence[bytes], length: Any
    ) -> None:
        """A field that frames: sent if it says what is so, refused if it does not."""
        kind = name.lower()
        if kind == b"host":
            if len(values) != 1 or HOST.fullmatch(values[0]) is None:
                raise self._refused(name, "it must be one host and port")
            fields[0] = (b"Host", values[0])
        elif kind == b"content-length":
            if any(value != b"%d" % (length or 0) for value in values) or length is UNKNOWN_LENGTH:
                raise self._refused(name, "it is not the length of the body")
        elif kind == b"transfer-encoding":
            if length is not UNKNOWN_LENGTH or list_items(values) != [b"chunked"]:
                raise self._refused(name, "a body of unknown length is sent in chunks, any other by its length")
        elif kind == b"connection":
            options = list_items(values)
            if b"close" in options:
                exchange.keep_alive = False
            fields += [(name, value) for value in values if list_items([value]) not in ([b"close"], [b"keep-alive"])]
        elif kind == b"expect":
            if list_items(values) != [b"100-continue"]:
                raise self._refused(name, "the only expectation is 100-continue")
            if exchange.producer is not None:
                exchange.expects = True
                fields.append((name, values[0]))
        else:
            exchange.upgrades = True
            fields += [(name, value) for value in values]

    def _refused(self, name: bytes, text: str) -> RequestRefused:
        return RequestRefused(ClientReason.BAD_METHOD_OR_FIELD, f"the field {name!r} cannot be sent: {text}")
