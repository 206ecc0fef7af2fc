"""Early hints: what a page will need, said before the page is made (RFC 8297).

While a handler works its client could load styles and scripts, if only it knew them. ``Request.hints``
tells it in a 103 response, and ``Hints`` does so by path, before the handler is called. The final response
repeats the links, for those who got no 103; what the application sets in ``Link`` itself stays as it is.

A 103 is a response that nobody asked for. Clients exist that take it for the final one and read what
follows as the answer to their next request (RFC 8297, 3), Python's ``http.client`` among them; nginx 1.22
never answers its own client then. So by default (``auto``) it goes to browsers alone: to a request with
``Sec-Fetch-Mode: navigate`` that came by no proxy, since proxies pass that field on whether they know 103 or
not. ``always`` is for servers whose every client is known, ``never`` for none. Whatever is configured there
is no 103 to HTTP/1.0 (RFC 9110, 15.2), none in answer to HEAD, whose sender is not going to load anything, and
none once the final response has begun.

Over a protocol that can push, a channel with a method ``push(links)`` is given the same links first, whatever
the client may be told: it decides by ``hardhttp.wire.push``.

Who may be told is the site's (``Site.early_hints_to``); what has been hinted is the request's, and goes with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from twisted.web import server
from twisted.web.resource import IResource

from hardhttp.web.beforehead import BeforeHead, before_head, field, set_field
from hardhttp.web.hintrules import HintRules, Prepared, prepared
from hardhttp.web.wrapping import Wrapper
from hardhttp.wire.grammar import list_items
from hardhttp.wire.links import Link, encode_links, parse_links

__all__ = ["POLICIES", "Hinting", "Hints"]

POLICIES = ("auto", "always", "never")
EARLY_HINTS = 103
# Fields by which proxies are known.
_BY_PROXIES = frozenset({b"via", b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-real-ip"})


class Hinting(BeforeHead, server.Request):
    """The part of a request that hints."""

    head: Any
    channel: Any
    site: Any
    startedWriting: Any
    _hinted: Prepared | None = None  # all that has been hinted
    _repeated: Prepared | None = None  # what of it the final response says again

    def hints(self, links: Iterable[Link] | Prepared, *, to: str | None = None, repeat: bool = True) -> bool:
        """Tell the client of ``links``, by 103; whether it was told. With ``repeat`` a final response that is 2xx
        has them too.

        ``to`` is ``Site.early_hints_to`` for this once: ``"auto"`` (browsers that navigate), ``"always"`` or
        ``"never"``. What has been hinted for this request is not said again. When the final response has begun,
        or nobody waits for it, nothing happens, and that is counted.

        Raises ``ValueError`` for a link that is neither ``preload`` nor ``preconnect``, and for more than
        ``MAX_LINKS`` or ``MAX_LINK_BYTES`` in one request.
        """
        policy = self.site.early_hints_to if to is None else to
        if policy not in POLICIES:
            raise ValueError(f"early hints are for {policy!r}; it must be auto, always or never")
        fresh = hinted = links if isinstance(links, Prepared) else prepared(tuple(links))
        before = self._hinted
        if before is not None:
            fresh = prepared(tuple(link for link in fresh.links if link not in before.links))
            hinted = prepared(before.links + fresh.links)
        if self.startedWriting or self.channel is None:
            self.site.server.statistics.hints_late += 1
            return False
        if not fresh.links:
            return False
        self._hinted = hinted
        if repeat:
            again = self._repeated
            self._repeated = fresh if again is None else prepared(again.links + fresh.links)
            self.before_head(_repeat_own)
        if policy == "never":
            return False
        push = getattr(self.channel, "push", None)  # a stream of HTTP/2 knows whether its client takes them
        if push is not None:
            push(fresh.links)  # before the client reads of them and asks (RFC 9113, 8.4.1)
        if not self._may_be_told(policy):
            return False
        self.channel.send_informational(EARLY_HINTS, {b"Link": (fresh.value,)})
        self.site.server.statistics.hints_sent += 1
        return True

    def _may_be_told(self, policy: str) -> bool:
        if self.method == b"HEAD" or self.clientproto == b"HTTP/1.0":
            return False
        return policy == "always" or self._is_navigation()

    def _is_navigation(self) -> bool:
        """Whether a browser is at the other end of this connection, and shows what it gets as a page.

        No script can set Sec-Fetch-Mode, and browsers use a 103 for nothing but navigation (HTML). Over
        HTTP/1.1 each of them says ``Connection: keep-alive``, which is about its own connection: no proxy may pass
        that on (RFC 9110, 7.6.1).
        """
        navigates = False
        is_its_own = self.clientproto != b"HTTP/1.1"
        for name, value in () if self.head is None else self.head.fields:
            if name == b"sec-fetch-mode":
                navigates = value == b"navigate"
            elif name == b"connection":
                is_its_own = is_its_own or b"keep-alive" in list_items([value])
            elif name in _BY_PROXIES:
                return False
        return navigates and is_its_own and not self.channel.server.trusts(self.channel.getPeer())


def _repeat_own(request: Hinting) -> None:
    if request._repeated is not None:
        _repeat(request._repeated, request)


def _repeat(links: Prepared, request: Any) -> None:
    """Have ``links`` on the final response, behind those that the application has set."""
    if not 200 <= request.code < 300:
        return  # an error page, or another page, needs something else
    if field(request, b"Link") is None:
        set_field(request, b"Link", links.value)
        return
    there = {(link.target, link.rel) for link in parse_links(request.responseHeaders.getRawHeaders(b"Link", ()))}
    missing = [link for link in links.links if (link.target, link.rel) not in there]
    if missing:
        request.responseHeaders.addRawHeader(b"Link", encode_links(missing))


def _push_preloads(request: Any) -> None:
    """Promise what the final response says to preload, before it says so."""
    push = getattr(request.channel, "push", None)
    links = field(request, b"Link")
    if push is not None and links is not None and 200 <= request.code < 300:
        push(parse_links([links]))


class Hints(Wrapper):
    """``resource``, with hints by path.

    ``rules`` are links by pattern (``"/"``, ``"/docs/{rest:path}"``: those of a router, from where this is mounted),
    or ``HintRules``; of several that fit the most particular one counts, as in a router. GET and HEAD alone are
    looked at. ``to`` and ``repeat`` are ``Request.hints``'s. With ``push_preloads`` what the ``Link`` fields of a final
    response (2xx) say to preload is pushed to clients of HTTP/2 that take pushes, whoever has set them. Raises
    ``ValueError`` for rules that cannot be.

    Under ``twisted.web``'s own server there is no 103, and the links are on the final response.
    """

    def __init__(
        self,
        resource: IResource,
        rules: HintRules | Mapping[str, Iterable[Link]] = MappingProxyType({}),
        *,
        to: str | None = None,
        repeat: bool = True,
        push_preloads: bool = False,
    ) -> None:
        super().__init__(resource)
        if to is not None and to not in POLICIES:
            raise ValueError(f"to is {to!r}; it must be auto, always or never")
        self.rules = rules if isinstance(rules, HintRules) else HintRules(rules)
        self.to = to
        self.repeat = repeat
        self.push_preloads = push_preloads

    def begin(self, request: Any) -> None:
        if request.method != b"GET" and request.method != b"HEAD":
            return
        if self.push_preloads and isinstance(request, Hinting):
            request.before_head(_push_preloads)  # the first to ask is the last to be called: it sees all links
        links = self.rules.find(request.postpath)
        if links is None:
            return
        if isinstance(request, Hinting):
            request.hints(links, to=self.to, repeat=self.repeat)
        elif self.repeat and links.links:
            before_head(request, partial(_repeat, links))
