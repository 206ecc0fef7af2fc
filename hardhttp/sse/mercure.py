"""The Mercure protocol (version 0.24), as a resource around an ``EventHub``.

It is mounted at ``/.well-known/mercure``. A GET subscribes, a POST publishes, and below
``subscriptions`` one may read who is subscribed. What a token allows is judged here, by
``hardhttp.sse.tokens`` and ``hardhttp.sse.claims``; events, their order and their history are the hub's. With
``websocket_origins`` a GET that asks for a WebSocket subscribes too, by the same rules.

Refusals are those of RFC 6750, with ``WWW-Authenticate``. A token's end is its stream's end.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Container, Iterable
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.errors import HTTPError
from hardhttp.interfaces import BrokerState
from hardhttp.limits import Limits
from hardhttp.sse.claims import Claims, may_publish, may_receive, read_claims
from hardhttp.sse.history import EARLIEST
from hardhttp.sse.hub import Ended, EventHub, Receipt, Subscriber
from hardhttp.sse.overload import overloaded
from hardhttp.sse.presence import PATH, Present
from hardhttp.sse.presencepage import show, url_of
from hardhttp.sse.remotekeys import KeysMissingError
from hardhttp.sse.tokens import COOKIE, Found, TokenError, Verifies, cookie_origin_allowed, find_token
from hardhttp.sse.websocket import EventSockets, Way
from hardhttp.web.asking import form_of, query_of
from hardhttp.web.beforehead import before_head, field, set_field
from hardhttp.web.cors import own_origin
from hardhttp.web.pages import error_page
from hardhttp.wire.eventstream import EventTooLargeError
from hardhttp.wire.grammar import TOKEN

__all__ = ["PATH", "Mercure"]

MAX_TOPICS = 100
ACCEPTED = 202
# So long a publisher waits for the broker at most.
PUBLISHED_SECONDS = 5.0
MAX_TOPIC_CHARACTERS = 2048
# The specification's name, and those that older clients use.
_LAST_ID_NAMES = ("lastEventID", "Last-Event-ID", "last-event-id")
_RETRY_DIGITS = 9
# A topic's path: what the hub tells of itself has this name, and a publisher could forge it (1.0, "Publication").
_RESERVED = re.compile(r"[^?#]*/\.well-known/mercure(?:[/?#]|$)")
# C0, DEL and C1, which stand in no topic (1.0, "Terminology").
_CONTROL = re.compile(r"[\0-\x1f\x7f-\x9f]")
# For requests of a site that is not ours.
_LIMITS = Limits()


class Mercure(Resource):
    """The hub ``hub`` for any Mercure client.

    ``publisher_key`` and ``subscriber_key`` are ``Key``, or ``RemoteKeys`` (of which who makes them starts and stops
    the fetching); without the first nobody may publish by POST, without the second no token of a subscriber is good.
    ``anonymous``: whether one may subscribe without a token, to public events. ``publish_origins``: pages that may
    publish with a cookie (``Origins``, or origins in bytes). ``subscriptions``: whether begin and end of each
    subscription are told, and may be asked for. ``max_topics`` bounds a request's topics. ``websocket_origins``: pages
    besides the hub's own that may subscribe over WebSocket (as ``Origins`` has them); their cookies do not count.
    ``None``: nobody may. ``audience`` is the hub's name, which a token must have in ``aud``; ``None``: any does.
    ``cookie`` is the name of the one a token may come in.
    """

    isLeaf = True

    def __init__(
        self,
        hub: EventHub,
        *,
        publisher_key: Verifies | None = None,
        subscriber_key: Verifies | None = None,
        anonymous: bool = False,
        publish_origins: Container[bytes] = (),
        subscriptions: bool = False,
        max_topics: int = MAX_TOPICS,
        audience: str | None = None,
        websocket_origins: Iterable[str] | None = None,
        cookie: str = COOKIE.decode("ascii"),
    ) -> None:
        super().__init__()
        if max_topics < 1:
            raise ValueError(f"max_topics is {max_topics!r}; it must be at least 1")
        if subscriber_key is None and not anonymous:
            raise ValueError("without a subscriber_key and without anonymous nobody could subscribe")
        if not cookie.isascii() or TOKEN.fullmatch(cookie.encode("ascii")) is None:
            raise ValueError(f"cookie is {cookie!r}; it must be a name of letters, digits and -_.!#$%&'*+^`|~")
        self.hub = hub
        self._cookie = cookie.encode("ascii")
        self._publisher_key, self._subscriber_key = publisher_key, subscriber_key
        self._anonymous = anonymous
        self._publish_origins = publish_origins
        self._audience = audience
        self.max_topics = max_topics
        self._sockets = None if websocket_origins is None else _Sockets(self, websocket_origins)
        self._presence = hub.presence() if subscriptions else None
        if subscriptions:
            hub.on_connect(self._began)
            hub.on_close(self._ended)

    @property
    def keys(self) -> tuple[Verifies, ...]:
        """What verifies tokens, each once."""
        return tuple(dict.fromkeys(key for key in (self._publisher_key, self._subscriber_key) if key is not None))

    # -- requests -----------------------------------------------------------------------------

    def render(self, request: Any) -> Any:
        try:
            return self._render(request)
        except HTTPError as error:
            return error_page(request, error.status, error.detail, error.headers, error.problem)

    def _render(self, request: Any) -> Any:
        rest = [segment for segment in request.postpath if segment]
        if rest:
            if rest[0] != b"subscriptions" or self._presence is None or len(rest) > 3:
                raise HTTPError(404)
            _only(request, b"GET", b"HEAD")
            return self._show(request, [_text(segment) for segment in rest[1:]])
        if self._sockets is not None and _asks_for_websocket(request):
            return self._sockets.render(request)
        _only(request, b"GET", b"HEAD", b"POST")
        return self._publish(request) if request.method == b"POST" else self.subscribe(request, request)

    # -- subscribing --------------------------------------------------------------------------

    def subscribe(self, request: Any, way: Any) -> Any:
        """What ``request`` asks for and may have goes out by ``way``, which is itself or stands for it."""
        # A browser sends a cookie with any page's WebSocket, and CORS does not say who may read it.
        foreign = way is not request and request.getHeader(b"origin") not in (None, own_origin(request))
        try:
            claims = self._claims_of_subscriber(request, cookies=not foreign)
        except KeysMissingError as error:
            return overloaded(way, error.retry_seconds, error.detail)
        if claims is None and not self._anonymous:
            raise TokenError.missing()
        query = query_of(request, _limits(request))
        topics = self._topics(query.getlist("topic"))
        if any("\ufffd" in topic for topic in topics) and not _is_utf8(request.uri):
            raise HTTPError(400, "A topic is text in UTF-8.")  # nobody could publish to it
        last_id = (request.getHeader(b"last-event-id") or b"").decode("utf-8", "replace")
        for name in _LAST_ID_NAMES:
            last_id = last_id or query.get(name) or ""
        present = Present(f"urn:uuid:{uuid.uuid4()}", payload=None if claims is None else claims.payload)
        try:
            return self.hub.subscribe(
                way,
                topics,
                last_event_id=last_id or None,
                allowed=() if claims is None else claims.subscribe,
                data=present,
                expires_at=None if claims is None else claims.expires_at,
            )
        finally:
            # Refused or closed by another's on_connect, after it was told of: then on_close is not called.
            if present.subscriber is not None and not present.subscriber.is_open:
                self._gone(present)

    def _topics(self, topics: list[str]) -> list[str]:
        if not topics:
            raise HTTPError(400, "At least one topic must be given.")
        if len(topics) > self.max_topics:
            raise HTTPError(400, f"There are more than {self.max_topics} topics.")
        if any(not topic or len(topic) > MAX_TOPIC_CHARACTERS for topic in topics):
            raise HTTPError(400, f"A topic has 1 to {MAX_TOPIC_CHARACTERS} characters.")
        if any(_CONTROL.search(topic) is not None for topic in topics):
            raise HTTPError(400, "A topic has no control characters.")
        return topics

    def _token_of(self, request: Any) -> Found | None:
        """As ``find_token``. What is answered to a token in the query is for nobody else (RFC 6750, 2.3)."""
        found = find_token(request, self._cookie)
        if found is not None and found.from_query:
            before_head(request, _say_private)
        return found

    def _claims_of_subscriber(self, request: Any, *, cookies: bool = True) -> Claims | None:
        """``None`` where there is no token; one that is there must be good.

        Where no token of a subscriber's could be good, all are anonymous, as in the reference hub: a browser
        sends the cookie of whoever publishes along with each subscription.
        """
        if self._subscriber_key is None:
            return None
        found = self._token_of(request)
        if found is None or (found.from_cookie and not cookies):
            return None
        return read_claims(found.token, self._subscriber_key, self.hub.seconds(), self._audience)

    # -- publishing ---------------------------------------------------------------------------

    def _publish(self, request: Any) -> bytes | int:
        found = self._token_of(request)
        if found is None:
            raise TokenError.missing()
        if self._publisher_key is None:
            raise TokenError.invalid("this hub knows no publishers")
        claims = read_claims(found.token, self._publisher_key, self.hub.seconds(), self._audience)
        if found.from_cookie and not cookie_origin_allowed(request, self._publish_origins):
            raise TokenError.insufficient("pages of this origin may not publish with a cookie")
        form = form_of(request, _limits(request))
        topics = self._topics(form.getlist("topic"))
        private = "private" in form
        if not may_publish(claims, topics, private):
            raise TokenError.insufficient("the token does not allow to publish to these topics")
        if any(_RESERVED.match(topic) is not None for topic in topics):
            raise TokenError.insufficient("topics below /.well-known/mercure are the hub's own")
        try:
            receipt = self.hub.publish(
                topics,
                form.get("data") or "",
                event=form.get("type") or None,
                id=form.get("id") or None,
                retry=_retry(form.get("retry")),
                private=private,
            )
        except ValueError as error:
            raise HTTPError(413 if isinstance(error, EventTooLargeError) else 400, str(error)) from None
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        if receipt.published:
            return receipt.id.encode("utf-8")
        if self.hub.broker_state is not BrokerState.READY:
            request.setResponseCode(ACCEPTED)  # it waits for the broker, and its id is not known yet
            return receipt.id.encode("utf-8")
        return self._answer_when_published(request, receipt)

    def _answer_when_published(self, request: Any, receipt: Receipt) -> int:
        """With a broker: 200 and the id when all nodes have the event, or will; 503 when it is given up."""

        def answer(became: Receipt | Failure) -> None:
            if not isinstance(became, Failure):
                said = receipt.id.encode("utf-8")
            elif became.check(CancelledError):
                return  # whoever asked has gone
            elif isinstance(error := became.value, HTTPError):
                said = error_page(request, error.status, error.detail, error.headers, error.problem)
            else:
                request.setResponseCode(ACCEPTED)  # the broker has just gone, and the event waits for it
                said = receipt.id.encode("utf-8")
            request.write(said)
            request.finish()

        waiting = receipt.when_published().addTimeout(PUBLISHED_SECONDS, self.hub.clock)
        request.notifyFinish().addErrback(lambda _: waiting.cancel())
        waiting.addBoth(answer)
        return NOT_DONE_YET

    # -- who is there -------------------------------------------------------------------------

    def _began(self, subscriber: Subscriber) -> None:
        present = subscriber.data
        if subscriber.request.method == b"HEAD":
            return  # it asks what a stream would begin with, and has none
        if isinstance(present, Present) and self._presence is not None:
            present.subscriber, present.topics = subscriber, subscriber.topics
            try:
                self._presence.came(present)
            except ValueError as error:
                raise HTTPError(400, f"A topic is too long to be told of: {error}.") from None

    def _ended(self, subscriber: Subscriber, reason: Ended) -> None:
        if isinstance(subscriber.data, Present):
            self._gone(subscriber.data)

    def _gone(self, present: Present) -> None:
        present.subscriber = None
        if self._presence is not None:
            self._presence.went(present)

    def _show(self, request: Any, path: list[str]) -> bytes | int:
        claims = self._claims_of_subscriber(request)
        if claims is None:
            raise TokenError.missing()
        if not may_receive(claims, [url_of(path)]):
            raise TokenError.insufficient("the token does not allow to see these subscriptions")
        assert self._presence is not None  # _render has seen to it
        last_id = self.hub.last_id
        if last_id == f"{self.hub.epoch}-0":
            last_id = EARLIEST  # there has been no event
        return show(request, self._presence, path, last_id)


class _Sockets(EventSockets):
    """Subscriptions of ``mercure`` over WebSocket."""

    def __init__(self, mercure: Mercure, origins: Iterable[str]) -> None:
        super().__init__(mercure.hub, origins=origins)
        self._mercure = mercure

    def subscribe(self, request: Any, way: Way) -> None:
        self._mercure.subscribe(request, way)


def _asks_for_websocket(request: Any) -> bool:
    if getattr(request.channel, "is_extended_connect", False):
        return True
    return request.method == b"GET" and b"websocket" in (request.getHeader(b"upgrade") or b"").lower()


def _is_utf8(uri: bytes) -> bool:
    try:
        unquote_to_bytes(uri).decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _say_private(request: Any) -> None:
    said = field(request, b"Cache-Control")
    set_field(request, b"Cache-Control", b"private" if said is None else b"private, " + said)


def _only(request: Any, *methods: bytes) -> None:
    if request.method not in methods:
        raise HTTPError(405, headers={"Allow": b", ".join(methods).decode("ascii")})


def _limits(request: Any) -> Limits:
    found: Limits = getattr(request.site, "limits", _LIMITS)
    return found


def _text(segment: bytes) -> str:
    try:
        return segment.decode("utf-8")
    except UnicodeDecodeError:
        raise HTTPError(404) from None


def _retry(text: str | None) -> float | None:
    """Milliseconds, as seconds."""
    if not text:
        return None
    if len(text) > _RETRY_DIGITS or not (text.isascii() and text.isdigit()):
        raise HTTPError(400, "retry must be a number of milliseconds.")
    return int(text) / 1000
