"""Redirects followed (RFC 9110, 15.4), so many and no more.

The body of a redirect is read to a bound, so that its connection can serve the next request, or else the
connection is closed. What identifies the user is not told to another origin: ``Authorization``, ``Cookie``
and ``Proxy-Authorization`` go no further than the scheme, host and port they were given for. A request
whose body cannot be made again is not repeated. A server of the network leads nobody to a Unix socket: what
listens there trusts whoever can reach it. ``total_seconds`` are for all of it, from the first request to the last
byte of the last body.

    301, 302    POST becomes GET, as everybody does it; any other method stays
    303         all but HEAD become GET
    307, 308    the method and the body stay
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urljoin

import attrs
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.web.error import InfiniteRedirection, SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from hardhttp.client.bodies import discard, discarded
from hardhttp.client.errors import ClientReason, ResponseTimeout, TooManyRedirects
from hardhttp.client.layers import clock_of, limits_of, takes_limits
from hardhttp.client.limits import ClientLimits
from hardhttp.client.uri import UNIX, parse_uri
from hardhttp.limits import DAY_SECONDS
from hardhttp.wire.deadlines import NEVER

__all__ = ["RedirectAgent"]

# A page that says where to go; what is longer is not worth its connection.
MAX_DISCARDED_BYTES = 64 * 1024
# The least that a limit in seconds may be.
LEAST_SECONDS = 0.01

_UNIX = f"{UNIX}://"
_CODES = frozenset({301, 302, 303, 307, 308})
_SECRET = (b"Authorization", b"Cookie", b"Proxy-Authorization", b"Host")
_OF_A_BODY = (b"Content-Type", b"Content-Length", b"Content-Encoding", b"Transfer-Encoding", b"Expect")


@implementer(IAgent)
class RedirectAgent:
    """An agent that goes where ``agent`` is sent, ``max_redirects`` times at most."""

    def __init__(self, agent: Any, limits: ClientLimits | None = None) -> None:
        self._agent = agent
        self.limits = limits or limits_of(agent)
        self.clock = clock_of(agent)
        self.takes_limits = takes_limits(agent)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
        **options: Any,
    ) -> Deferred[IResponse]:
        """As ``IAgent`` says; ``options`` are handed on. Fails with ``TooManyRedirects`` too."""
        due = NEVER
        limits = options.get("limits") or self.limits
        if self.takes_limits and self.clock is not None and limits.total_seconds is not None:
            due = self.clock.seconds() + limits.total_seconds
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer, **options)
        return asked.addCallback(self._answered, _Step(method, uri, headers, bodyProducer, options, due, 0))

    def _answered(self, response: Any, step: _Step) -> Any:
        if response.code not in _CODES:
            return response
        locations = response.headers.getRawHeaders(b"location")
        if not locations:
            return response
        bound = (step.options.get("limits") or self.limits).max_redirects
        if step.taken >= bound:
            discard(response, MAX_DISCARDED_BYTES)
            text = f"more than {bound} redirects"
            beneath = [Failure(InfiniteRedirection(response.code, text.encode("ascii")))]
            raise TooManyRedirects(ClientReason.REDIRECTS, text, beneath, response=response, sent=True)
        try:
            following = step.follow(response.code, locations[0])
        except Exception:
            discard(response, MAX_DISCARDED_BYTES)
            raise
        return discarded(response, MAX_DISCARDED_BYTES).addCallback(self._go, response, following)

    def _go(self, _: object, response: IResponse, step: _Step) -> Deferred[IResponse]:
        options = step.options
        if self.clock is not None and step.due < NEVER:
            left = step.due - self.clock.seconds()
            if left < LEAST_SECONDS:
                text = "it and its redirects took longer than total_seconds"
                raise ResponseTimeout(ClientReason.TOTAL_SECONDS, text, response=response, sent=True)
            limits = attrs.evolve(options.get("limits") or self.limits, total_seconds=min(left, DAY_SECONDS))
            options = {**options, "limits": limits}
        asked: Deferred[IResponse] = self._agent.request(step.method, step.uri, step.headers, step.producer, **options)
        asked.addCallback(_linked, response)
        return asked.addCallback(self._answered, step)


def _linked(response: Any, previous: IResponse) -> Any:
    response.setPreviousResponse(previous)
    return response


class _Step:
    """A request that may be sent on; ``taken`` redirects led to it, and all is ``due`` at one time."""

    __slots__ = ("due", "headers", "method", "options", "producer", "taken", "uri")

    def __init__(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None,
        producer: Any,
        options: dict[str, Any],
        due: float,
        taken: int,
    ) -> None:
        self.method = method
        self.uri = uri
        self.headers = headers
        self.producer = producer
        self.options = options
        self.due = due
        self.taken = taken

    def follow(self, code: int, location: bytes) -> _Step:
        """The request that a redirect makes of this one. Raises ``TooManyRedirects`` for a URI that cannot be asked
        and for a body that cannot be sent again."""
        here = parse_uri(self.uri).key
        try:
            uri = _join(self.uri, location)
            address = parse_uri(uri)
        except (ValueError, SchemeNotSupported) as error:
            raise _nowhere("a redirect to what is no URI that can be asked") from error
        if not uri.isascii():
            uri = address.absolute  # agents between, as those that keep cookies, read ASCII alone
        headers = Headers() if self.headers is None else self.headers.copy()
        if address.key != here:
            if address.key[0] == UNIX:
                raise _nowhere("a redirect into a Unix socket")
            _remove(headers, _SECRET)
        method, producer = self.method, self.producer
        if (code == 303 and method != b"HEAD") or (code in (301, 302) and method == b"POST"):
            method, producer = b"GET", None
            _remove(headers, _OF_A_BODY)
        elif producer is not None:
            again = getattr(producer, "again", None)
            if again is None:
                raise _nowhere("a redirect asks for the body again, and its producer cannot make it again (again())")
            producer = again()
        return _Step(method, uri, headers, producer, self.options, self.due, self.taken + 1)


def _nowhere(text: str) -> TooManyRedirects:
    return TooManyRedirects(ClientReason.REDIRECTS, text, sent=True)


def _remove(headers: Headers, names: tuple[bytes, ...]) -> None:
    for name in names:
        headers.removeHeader(name)


def _join(base: bytes, location: bytes) -> bytes:
    """RFC 9110, 10.2.2, against ``base``; what servers leave unencoded is encoded."""
    # What is not UTF-8 stays the bytes it is: browsers and curl ask for %E9 where a server says it in Latin-1.
    text, to = base.decode("utf-8"), location.decode("utf-8", "surrogateescape")
    if text.startswith(_UNIX) and "://" not in to.partition("?")[0] and not to.startswith("//"):
        # urljoin knows nothing of this scheme.
        joined = _UNIX + urljoin("http" + text.removeprefix(UNIX), to).removeprefix("http://")
    else:
        joined = urljoin(text, to)
    fragment = text.partition("#")[2]
    if fragment and "#" not in joined:
        joined += "#" + fragment  # RFC 9110, 10.2.2
    if joined.isascii() and " " not in joined:
        return joined.encode("ascii")
    scheme, separator, rest = joined.partition("://")
    cut = min((i for i in (rest.find("/"), rest.find("?"), rest.find("#")) if i >= 0), default=len(rest))
    path = quote(rest[cut:], safe="!#$%&'()*+,-./:;<=>?@[]^_`{|}~\"", errors="surrogateescape")
    return (scheme + separator + rest[:cut] + path).encode("utf-8", "surrogateescape")
