"""treq, with this client's bounds.

treq decodes, redirects and keeps cookies with Twisted's agents, which have no bounds, and its ``timeout``
ends with the response's head. ``HTTPClient`` is treq's with what is here in their place: the same
arguments, the same responses. ``timeout`` is for the whole: redirects and the body included.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import attrs
import treq.client
from hyperlink import DecodedURL, EncodedURL
from treq._types import _NOTHING
from treq.auth import add_auth
from treq.client import _BufferedResponse, _merge_cookies, _scoped_cookiejar_from_dict
from treq.cookies import IndexableCookieJar
from treq.response import _Response
from twisted.internet.defer import Deferred
from twisted.web.client import CookieAgent
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from hardhttp.client.decoding import DecodingAgent
from hardhttp.client.layers import clock_of, limits_of, takes_limits
from hardhttp.client.limits import ClientLimits
from hardhttp.client.redirects import RedirectAgent
from hardhttp.client.sending import BytesBody

__all__ = ["HTTPClient"]

# A URL that needs no encoding: hyperlink would give it back as it is.
_PLAIN_URL = re.compile(r"https?://[a-z0-9.\-]+(?::[0-9]+)?/[A-Za-z0-9\-._~!$&'()*+,;=:@/]*")


def _producer(data: Any) -> IBodyProducer:
    """Bytes are sent with the head; for all else as treq does."""
    return BytesBody(data) if isinstance(data, bytes) else IBodyProducer(data)


@implementer(IAgent)
class _Cookies:
    """Cookies from the jar and to it; where there are none, nothing is parsed."""

    def __init__(self, agent: Any, jar: CookieJar, limits: ClientLimits | None) -> None:
        self._agent = agent
        self._jar = jar
        self._options: dict[str, Any] = {} if limits is None else {"limits": limits}
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
        options = options or self._options
        if next(iter(self._jar), None) is not None:
            kept: Any = CookieAgent(_Plain(self._agent, options), self._jar)
            shown: Deferred[Any] = kept.request(method, uri, headers, bodyProducer)
            return shown.addCallback(_response)
        asked: Deferred[IResponse] = self._agent.request(method, uri, headers, bodyProducer, **options)
        return asked.addCallback(self._answered, uri)

    def _answered(self, response: Any, uri: bytes) -> Any:
        if response.headers.hasHeader(b"set-cookie"):
            # Twisted's agent, with an agent below it that has the answer already.
            Deferred.fromCoroutine(_extract(response, uri, self._jar))
        return response


async def _extract(response: Any, uri: bytes, jar: CookieJar) -> None:
    await CookieAgent(_Answered(_Shown(response)), jar).request(b"GET", uri)


class _Shown:
    """What a cookie agent sees of ``response``: cookies that are not ASCII would be an exception to it."""

    def __init__(self, response: Any) -> None:
        self.response = response
        cookies = [value for value in response.headers.getRawHeaders(b"set-cookie", ()) if value.isascii()]
        self.headers = Headers({b"set-cookie": cookies})


def _response(shown: _Shown) -> Any:
    return shown.response


@implementer(IAgent)
class _Answered:
    """An agent that has been answered."""

    def __init__(self, response: Any) -> None:
        self._response = response

    def request(self, *_: Any) -> Deferred[IResponse]:
        answered: Deferred[IResponse] = Deferred()
        answered.callback(self._response)
        return answered


@implementer(IAgent)
class _Plain:
    """An agent that is asked with options, as one that knows of none."""

    def __init__(self, agent: Any, options: dict[str, Any]) -> None:
        self._agent = agent
        self._options = options

    def request(self, *request: Any) -> Deferred[IResponse]:
        asked: Any = self._agent.request(*request, **self._options)
        asked.addCallback(_Shown)
        return asked


class HTTPClient(treq.client.HTTPClient):
    """``treq.client.HTTPClient`` over ``agent``, an ``hardhttp.client.Agent`` or one around it."""

    def __init__(
        self,
        agent: Any,
        cookiejar: IndexableCookieJar | None = None,
        data_to_body_producer: Callable[[Any], IBodyProducer] = _producer,
    ) -> None:
        super().__init__(agent, cookiejar, data_to_body_producer)

    def request(
        self,
        method: str,
        url: Any,
        *,
        params: Any = None,
        headers: Any = None,
        data: Any = None,
        files: Any = None,
        json: Any = _NOTHING,
        auth: Any = None,
        cookies: Any = None,
        allow_redirects: bool = True,
        browser_like_redirects: bool = False,
        unbuffered: bool = False,
        reactor: Any = None,
        timeout: float | None = None,
        _stacklevel: int = 2,
    ) -> Deferred[_Response]:
        """As ``treq.request`` says. ``timeout`` is ``ClientLimits.total_seconds``, for this request and all that
        it leads to; 0 is an error. Redirects are followed as RFC 9110 says, in either way of treq's.
        """
        plain = self._plain_url(url) if not params and not cookies else None
        if plain is None:
            parsed = _parsed(url)
            if params:
                parsed = parsed.replace(query=parsed.query + tuple(treq.client._coerced_query_params(params)))
            plain = parsed.to_uri().to_text().encode("ascii")
            if cookies is not None:
                jar = cookies if isinstance(cookies, CookieJar) else _scoped_cookiejar_from_dict(parsed, cookies)
                _merge_cookies(self._cookiejar, jar)
        fields = self._request_headers(headers, _stacklevel + 1)
        producer, kind = self._request_body(data, files, json, stacklevel=_stacklevel + 1)
        if kind is not None:
            fields.setRawHeaders(b"Content-Type", [kind])
        agent: Any = _Cookies(self._agent, self._cookiejar, self._limits(timeout))
        if allow_redirects:
            agent = RedirectAgent(agent)
        agent = DecodingAgent(agent)
        if auth:
            agent = add_auth(agent, auth)
        asked = agent.request(method.encode("ascii").upper(), plain, headers=fields, bodyProducer=producer)
        if not unbuffered:
            asked.addCallback(_BufferedResponse)
        return asked.addCallback(_Response, self._cookiejar)

    def _limits(self, timeout: float | None) -> ClientLimits | None:
        if timeout is None:
            return None
        return attrs.evolve(limits_of(self._agent), total_seconds=timeout)

    def _plain_url(self, url: Any) -> bytes | None:
        """``url`` as it is, if nothing in it has to be encoded."""
        if isinstance(url, bytes) and url.isascii():
            url = url.decode("ascii")
        if isinstance(url, str) and _PLAIN_URL.fullmatch(url) is not None:
            return url.encode("ascii")
        return None


def _parsed(url: Any) -> EncodedURL:
    if isinstance(url, DecodedURL):
        return url.encoded_url
    if isinstance(url, EncodedURL):
        return url
    return EncodedURL.from_text(url if isinstance(url, str) else url.decode("ascii"))
