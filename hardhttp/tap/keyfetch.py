"""The URL of a JWKS, and how the document comes from there.

The URL is judged when the options are read, without asking anybody. ``https`` is needed, for whoever can change the
document on its way can sign; ``http`` will do on this machine's loopback, where an issuer or a proxy to one may be. The
answer must be a 200 of the same origin, within bounds of time and size. Its own address is all that the log hears.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectError, DNSLookupError
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IResponse
from zope.interface import implementer

from hardhttp.client import Agent, ClientError, ClientLimits, DecodingAgent, RedirectAgent, RequestRefused, reason_of
from hardhttp.client.bodies import discard
from hardhttp.client.uri import parse_uri
from hardhttp.sse.jwks import MAX_TEXT_CHARACTERS
from hardhttp.sse.remotekeys import FETCH_SECONDS, Document, FetchError
from hardhttp.wire.grammar import list_items

__all__ = ["KeyFetch"]

MAX_DOCUMENT_BYTES = MAX_TEXT_CHARACTERS
# A path that has moved is one; from http to https leaves the origin.
MAX_REDIRECTS = 3
# One fetch at a time, and minutes between them: no connection is worth keeping.
_LIMITS = ClientLimits(
    connect_seconds=FETCH_SECONDS,
    tls_seconds=FETCH_SECONDS,
    first_byte_seconds=FETCH_SECONDS,
    body_idle_seconds=FETCH_SECONDS,
    total_seconds=FETCH_SECONDS,
    max_head_bytes=16 * 1024,
    max_body_bytes=MAX_DOCUMENT_BYTES,
    max_decoded_bytes=MAX_DOCUMENT_BYTES,
    max_redirects=MAX_REDIRECTS,
    max_connections=1,
    max_idle_connections=0,
)
_AUTHORITY = re.compile(r"//([^/?#]*)")
_MAX_AGE = re.compile(rb'max-age="?([0-9]{1,9})"?', re.I)


class KeyFetch:
    """Fetches ``url`` each time it is called. ``where`` is its origin, fit for a log.

    Certificates are verified against ``trust_root``, or the platform's. No connection is kept. Raises ``ValueError``
    for a URL that will not do; the message does not quote it.
    """

    def __init__(self, url: str, reactor: Any, *, trust_root: Any = None) -> None:
        self._origin, self.where = _judged(url)
        self._url = url.encode("utf-8")
        self._reactor, self._trust_root = reactor, trust_root
        self._agent: Agent | None = None  # from the first fetch on, until ``close``

    def __call__(self) -> Deferred[Document]:
        """Fails with ``FetchError``. It may be cancelled."""
        if self._agent is None:
            self._agent = Agent(self._reactor, _LIMITS, trust_root=self._trust_root, http2=False)
        asks = DecodingAgent(RedirectAgent(_OneOrigin(self._agent, self._origin)))
        return Deferred.fromCoroutine(self._document(asks))

    def close(self) -> Deferred[None]:
        """End what there is; fires when the last socket has gone. It may be called for another document then."""
        agent, self._agent = self._agent, None
        return succeed(None) if agent is None else agent.close()

    async def _document(self, asks: IAgent) -> Document:
        fields = Headers({b"Accept": [b"application/jwk-set+json, application/json"], b"Accept-Encoding": [b"gzip"]})
        try:
            response: Any = await asks.request(b"GET", self._url, fields)
            _check(response)
            content = await readBody(response)
        except ClientError as error:
            raise FetchError(str(error)) from None  # which quotes nothing of the peer's
        except (ConnectError, DNSLookupError) as error:
            raise FetchError(reason_of(error)) from None
        return Document(content, fresh_seconds(response.headers))


def _judged(url: str) -> tuple[tuple[str, str, int], str]:
    """Its origin, as a key and in words."""
    if "@" in _AUTHORITY.findall(url)[0]:
        raise ValueError("the URL names a user; a document that everybody may read needs none")
    try:
        address = parse_uri(url)
    except RequestRefused as error:
        raise ValueError(error.text) from None
    scheme, host, _ = address.key
    if scheme == "http" and not _is_loopback(host):
        raise ValueError("the URL must be https; http is for a loopback address alone, such as http://127.0.0.1:8000/")
    return address.key, f"{scheme}://{address.field.decode('ascii')}"


def _is_loopback(host: str) -> bool:
    """A name, though it be ``localhost``, is what a resolver says."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check(response: Any) -> None:
    """Raises ``FetchError``, and lets the answer go, when it is not the document."""
    if response.code != 200:
        why = f"the answer is {response.code} and not 200"
    elif response.headers.hasHeader(b"content-encoding"):
        why = "the answer has a coding that was not asked for"
    else:
        return
    discard(response)
    raise FetchError(why)


def fresh_seconds(headers: Headers) -> float | None:
    """What is left of the ``max-age`` of an answer (RFC 9111, 4.2), if it says one."""
    for item in list_items(headers.getRawHeaders(b"cache-control") or []):
        found = _MAX_AGE.fullmatch(item)
        if found is not None:
            age = (headers.getRawHeaders(b"age") or [b""])[0].strip()
            return max(0.0, float(found[1]) - (float(age[:9]) if age.isdigit() else 0.0))
    return None


@implementer(IAgent)
class _OneOrigin:
    """An agent that asks nobody but ``origin``."""

    takes_limits = True

    def __init__(self, agent: Agent, origin: tuple[str, str, int]) -> None:
        self._agent, self._origin = agent, origin

    def request(
        self, method: bytes, uri: bytes, headers: Headers | None = None, bodyProducer: Any = None, **options: Any
    ) -> Deferred[IResponse]:
        if parse_uri(uri).key != self._origin:
            return fail(FetchError("a redirect leads to another origin"))
        return self._agent.request(method, uri, headers, bodyProducer, **options)
