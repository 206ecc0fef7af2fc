"""The hub of ``twistd hardhttp``: made of its options, and laid over whatever else is served."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python import usage
from twisted.web.resource import IResource, Resource
from zope.interface import implementer

from hardhttp.brokers import open_broker
from hardhttp.errors import StoreError
from hardhttp.interfaces import IBroker, IHistory, IStreamingResource
from hardhttp.sse.debugpage import DebugPage
from hardhttp.sse.history import MemoryHistory
from hardhttp.sse.historysqlite import SQLiteHistory
from hardhttp.sse.hub import Away, EventHub, Policy
from hardhttp.tap.checks import check_place, items, resolved
from hardhttp.tap.optiontable import OPTIONS
from hardhttp.tap.ownedfiles import make_owned
from hardhttp.units import UnitError, format_seconds, format_size, parse_count, parse_seconds, parse_size
from hardhttp.web.cors import Origins

if TYPE_CHECKING:
    from hardhttp.sse.mercure import Mercure
    from hardhttp.sse.remotekeys import RemoteKeys
    from hardhttp.sse.tokens import Verifies

__all__ = ["HubOver", "make_mercure", "most_subscribers", "remote_keys"]

_log = Logger(namespace="hardhttp")
_URL = re.compile(r"https?://", re.I)
MAX_SECONDS = 7 * 86400.0
_ALONE = (
    *("anonymous", "subscriptions", "publish-origins", "mercure-ui", "mercure-websocket", "broker"),
    "mercure-audience",
)


@implementer(IStreamingResource)
class HubOver(Resource):
    """``resource``, with a hub at ``/.well-known/mercure``, and with ``ui`` the page to try it at ``ui/`` below."""

    def __init__(self, mercure: Mercure, resource: IResource, *, ui: bool = False) -> None:
        super().__init__()
        self._mercure, self._resource = mercure, resource
        self._page = DebugPage() if ui else None

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        if path == b".well-known" and request.postpath[:1] == [b"mercure"]:
            request.prepath.append(request.postpath.pop(0))
            if self._page is not None and request.postpath[:1] == [b"ui"]:
                request.prepath.append(request.postpath.pop(0))
                return self._page
            return self._mercure
        # The segment is given back: the resource sees the way from its own beginning.
        request.postpath.insert(0, request.prepath.pop())
        return self._resource


def make_mercure(options: Mapping[str, Any], reactor: Any) -> Mercure | None:
    """The hub that ``options`` ask for, or ``None``. Raises ``usage.UsageError``."""
    if options["mercure-publisher-key"] is None and options["mercure-subscriber-key"] is None:
        for name in _ALONE:
            if options[name]:
                raise usage.UsageError(f"--{name} is for the hub, which --mercure-publisher-key turns on")
        if options["history"] != "memory:":
            raise usage.UsageError("--history is for the hub, which --mercure-publisher-key turns on")
        _check_away(options)
        return None
    try:
        from hardhttp.sse.mercure import Mercure
    except ImportError as error:
        raise usage.UsageError(
            f"--mercure-publisher-key needs PyJWT: pip install 'hardhttp[mercure]' ({error})"
        ) from None
    keys = _keys(options, reactor)
    if keys[1] is None and not options["anonymous"]:
        raise usage.UsageError("nobody could subscribe: give --mercure-subscriber-key, or --anonymous")
    max_event_bytes, policies = _max_event_bytes(options), _policies(options["slow-subscribers"])
    broker = _broker(options, reactor)
    hub = EventHub(
        reactor,
        history=_history(options, reactor) if broker is None else None,
        broker=broker,
        broker_away=_check_away(options),
        max_event_bytes=max_event_bytes,
        max_subscribers=most_subscribers(options["max-connections"]),
        heartbeat_seconds=_seconds(options, "heartbeat-seconds"),
        lifetime_seconds=_seconds(options, "subscription-seconds"),
        compressed=not options["uncompressed-events"],
        **policies,
    )
    try:
        publish_origins: Any = Origins(items(options["publish-origins"])) if options["publish-origins"] else ()
        return Mercure(
            hub,
            publisher_key=keys[0],
            subscriber_key=keys[1],
            anonymous=bool(options["anonymous"]),
            publish_origins=publish_origins,
            subscriptions=bool(options["subscriptions"]),
            max_topics=_count(options, "max-topics", 10_000),
            audience=options["mercure-audience"],
            cookie=options["mercure-cookie"],
            websocket_origins=items(options["cors-origins"] or "") if options["mercure-websocket"] else None,
        )
    except ImportError as error:
        raise usage.UsageError(f"--mercure-websocket: {error}") from None
    except ValueError as error:
        raise usage.UsageError(f"the hub cannot be as asked for: {error}") from None


def remote_keys(mercure: Mercure | None) -> list[RemoteKeys]:
    """The keys of a hub that come from URLs."""
    if mercure is None:
        return []
    from hardhttp.sse.remotekeys import RemoteKeys

    return [key for key in mercure.keys if isinstance(key, RemoteKeys)]


def _keys(options: Mapping[str, Any], reactor: Any) -> list[Verifies | None]:
    """Of publishers and of subscribers."""
    made: dict[tuple[str, str], RemoteKeys] = {}  # one URL is fetched once for both
    keys: list[Verifies | None] = []
    for role in ("publisher", "subscriber"):
        name, algorithm = f"mercure-{role}-key", options[f"mercure-{role}-algorithm"]
        if options[name] is None:
            keys.append(None)
            continue
        text = resolved(name, options[name])
        try:
            if _URL.match(text) is None:
                keys.append(_key(name, text, algorithm))
            else:
                if (text, algorithm) not in made:
                    made[text, algorithm] = _remote(text, algorithm, reactor)
                keys.append(made[text, algorithm])
        except ValueError as error:
            raise usage.UsageError(f"--{name}: {error}") from None
    return keys


def _key(name: str, text: str, algorithm: str) -> Verifies:
    from hardhttp.sse.tokens import Key

    key = Key.parse(text, algorithm)
    for warning in key.warnings:
        _log.warn("--{name}: {warning}", name=name, warning=warning)
    return key


def _remote(url: str, algorithm: str, reactor: Any) -> RemoteKeys:
    from hardhttp.sse.remotekeys import RemoteKeys
    from hardhttp.tap.keyfetch import KeyFetch

    fetch = KeyFetch(url, reactor)
    return RemoteKeys(fetch, algorithm, reactor, close=fetch.close, where=fetch.where)


def _history(options: Mapping[str, Any], reactor: Any) -> IHistory:
    text = options["history"]
    kind, colon, path = text.partition(":")
    if text == "memory:":
        return MemoryHistory(reactor)
    if kind == "sqlite" and colon and path and options["check"]:
        check_place("history", path)  # the file is one process's, which may be serving from it
        return MemoryHistory(reactor)
    if kind == "sqlite" and colon and path:
        predecessor = getattr(options, "predecessor", None)
        if predecessor is not None:
            predecessor.ask_for("history")
        for each in (path, f"{path}-last"):
            make_owned(each, 0o600, getattr(options, "parent", None))
        try:
            return SQLiteHistory(path, reactor)
        except (StoreError, ValueError) as error:
            raise usage.UsageError(f"--history: {error}") from None
    raise usage.UsageError(f"--history is {text}; it must be memory: or sqlite:PATH")


def _broker(options: Mapping[str, Any], reactor: Any) -> IBroker | None:
    text = options["broker"]
    if text is None:
        return None
    if options["history"] != "memory:":
        raise usage.UsageError("--broker keeps the history, for all processes: leave --history out")
    try:
        return open_broker(resolved("broker", text), reactor)
    except (ValueError, StoreError) as error:
        raise usage.UsageError(f"--broker: {error}") from None


def _check_away(options: Mapping[str, Any]) -> Away:
    text = options["broker-away"]
    try:
        away = Away(text)
    except ValueError:
        raise usage.UsageError(f"--broker-away is {text}; it must be refuse, queue or local") from None
    if away is not Away.REFUSE and options["broker"] is None:
        raise usage.UsageError(f"--broker-away {text} is about the broker of --broker, and there is none")
    return away


def _policies(text: str) -> dict[str, Any]:
    """The policy for all, and by selector where it differs."""
    default, policies = Policy.CLOSE, {}
    try:
        for word in text.split():
            selector, equals, name = word.rpartition("=")
            if equals:
                policies[selector] = Policy(name)
            else:
                default = Policy(name)
    except ValueError as error:
        known = ", ".join(Policy)
        raise usage.UsageError(f"--slow-subscribers: {error}; it must be one of {known}, or SELECTOR=one") from None
    return {"policy": default, "policies": policies}


def _seconds(options: Mapping[str, Any], name: str) -> float | None:
    if options[name] == "none":
        return None
    try:
        seconds = parse_seconds(options[name])
        if not 1 <= seconds <= MAX_SECONDS:
            raise UnitError(f"{options[name]} is out of bounds")
    except UnitError as error:
        most = format_seconds(MAX_SECONDS)
        raise usage.UsageError(f"--{name}: {error}; it must be from 1 second to {most}, or none") from None
    return seconds


def _count(options: Mapping[str, Any], name: str, most: int) -> int:
    try:
        count = parse_count(options[name])
        if not 1 <= count <= most:
            raise UnitError(f"{count:,} is out of bounds")
    except UnitError as error:
        raise usage.UsageError(f"--{name}: {error}; it must be from 1 to {most:,}") from None
    return count


def most_subscribers(max_connections: int) -> int:
    """How many of a server's connections a hub may have.

    A tenth is left for those who are told to come again: past the connections' own bound a browser gives up.
    """
    return max(1, max_connections - max(1, max_connections // 10))


def _max_event_bytes(options: Mapping[str, Any]) -> int:
    try:
        size = parse_size(options["max-event-bytes"])
        if not 1 <= size <= 1 << 26:
            raise UnitError(f"{size} bytes")
    except UnitError as error:
        raise usage.UsageError(f"--max-event-bytes: {error}; it must be from 1 to 64MiB") from None
    for name in ("max-form-bytes", "max-body-bytes"):
        if options["max-event-bytes"] != OPTIONS["max-event-bytes"].default and size > options[name]:
            raise usage.UsageError(
                f"--max-event-bytes {options['max-event-bytes']} is more than can be published: "
                f"--{name} is {format_size(options[name])}"
            )
    return size
