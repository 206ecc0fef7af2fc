"""How often one client may ask: a wrapper that answers 429 to those who ask more.

Each client has a token bucket (``hardhttp.wire.tokenbucket``); by default a client is an address, and an
IPv6 one is its /64, because that is what one customer gets. The address is the one that a trusted
proxy tells, where there is one. Loopback is counted like any other address.

A request is judged at its head, before its body is invited. The table of buckets is bounded, and no
timer belongs to it: what is full is forgotten as other requests come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from math import ceil
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.web.resource import IResource

from hardhttp.errors import Reason
from hardhttp.web import pages
from hardhttp.web.beforehead import before_head, set_field
from hardhttp.web.fileanswer import server_of
from hardhttp.web.wrapping import Answer, Wrapper
from hardhttp.wire.forwarded import parse_network
from hardhttp.wire.tokenbucket import Rate, Taken, TokenBuckets

__all__ = ["RateLimited"]

# Some 230 bytes each.
MAX_KEYS = 50_000


class RateLimited(Wrapper):
    """``resource``, for each client ``rate`` times (``"100/m"``, ``"5/s"``, ``"1000/h"``, ``"10/30s"``).

    ``burst`` is how many requests a client that has been quiet may make at once; the rate's own count
    by default. ``key(request)`` says whose bucket is used: ``str`` or ``bytes`` (of any length; a digest is
    kept), or ``None`` for a request that is not counted. It sees the head alone. When it fails, that is logged and
    the address is used. ``exempt`` are networks that are not counted, where there is no ``key``.

    Past ``max_keys`` clients at a time the bucket nearest to full is forgotten. With ``announce`` every answer says
    what is left (draft-ietf-httpapi-ratelimit-headers-10); a 429 always does. ``clock`` is the site's
    by default. Raises ``ValueError`` for a rate or a bound that cannot be.

    ``refused`` counts the answers 429, ``forgotten`` the buckets forgotten before they were full; ``len`` is
    how many buckets there are. Each 429 is a refusal of the site's server too, for the reason ``rate-limit``.
    """

    _log = Logger(namespace="hardhttp")

    def __init__(
        self,
        resource: IResource,
        rate: str,
        *,
        burst: int | None = None,
        key: Callable[[Any], str | bytes | None] | None = None,
        exempt: Iterable[str] = (),
        max_keys: int = MAX_KEYS,
        announce: bool = False,
        clock: IReactorTime | None = None,
    ) -> None:
        super().__init__(resource)
        if isinstance(exempt, str):
            raise ValueError(f"exempt is {exempt!r}; it must be a list of networks")
        parsed = Rate.parse(rate)
        self._buckets = TokenBuckets(parsed, parsed.count if burst is None else burst, max_keys)
        self._key = key
        self._exempt = tuple(parse_network(network) for network in exempt)
        self._announce = announce
        self._clock = clock
        self.refused = 0
        window = ceil(self._buckets.burst * parsed.token_seconds)
        self._policy = b'"default";q=%d;w=%d' % (self._buckets.burst, window)

    def __len__(self) -> int:
        return len(self._buckets)

    def __bool__(self) -> bool:
        return True

    @property
    def forgotten(self) -> int:
        return self._buckets.forgotten

    def begin(self, request: Any) -> IResource | None:
        if not before_head(request, self._counted):
            return None
        key = self._key_of(request)
        if key is None:
            return None
        clock = request.site.reactor if self._clock is None else self._clock
        taken = self._buckets.take(key, clock.seconds())
        if taken.wait_seconds:
            self._note(request)
            return Answer(partial(self._refuse, taken))
        if self._announce:
            before_head(request, partial(self._say, taken))
        return None

    def _note(self, request: Any) -> None:
        self.refused += 1
        server = server_of(request)
        if server is not None:
            rate, request_id = self._buckets.rate, getattr(request, "request_id", None)
            detail = f"a client asks more than {rate.count} times in {rate.seconds:g} s"
            server.refused(Reason.RATE_LIMIT, detail, request_id, request.getClientAddress())

    def _counted(self, request: Any) -> None:
        """That this is asked to be called says that the request has been counted."""

    def _key_of(self, request: Any) -> str | None:
        if self._key is not None:
            try:
                key = self._key(request)
                if key is None:
                    return None
                if isinstance(key, str):
                    key = key.encode("utf-8", "surrogateescape")
                # What a peer sent may be long, and may be a secret.
                return blake2b(key, digest_size=16).hexdigest()
            except Exception:
                self._log.failure("the key of a rate limit failed; the address is used")
        return self._address_key(getattr(request.getClientAddress(), "host", None) or "")

    def _address_key(self, host: str) -> str | None:
        """The bucket of an address; those who have none (a Unix socket that tells nothing) share one."""
        if ":" not in host and not self._exempt:
            return host
        try:
            address = ip_address(host.partition("%")[0])
        except ValueError:
            return host
        if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        if any(address in network for network in self._exempt):
            return None
        if isinstance(address, IPv6Address):
            return str(IPv6Address(int(address) >> 64 << 64)) + "/64"
        return str(address)

    def _say(self, taken: Taken, request: Any) -> None:
        set_field(request, b"RateLimit-Policy", self._policy)
        set_field(request, b"RateLimit", b'"default";r=%d;t=%d' % (taken.left, ceil(taken.full_seconds)))

    def _refuse(self, taken: Taken, request: Any) -> bytes:
        """RFC 6585, 4. Retry-After is in whole seconds (RFC 9110, 10.2.3)."""
        wait = max(1, ceil(taken.wait_seconds))
        headers = {
            "Retry-After": str(wait),
            "RateLimit-Policy": self._policy.decode("ascii"),
            "RateLimit": f'"default";r=0;t={wait}',
        }
        rate = self._buckets.rate
        detail = f"No more than {rate.count} requests in {rate.seconds:g} s are answered. Try again in {wait} s."
        return pages.error_page(request, 429, detail, headers)
