"""The admin side of ``twistd hardhttp``: where it listens, who may ask, and what watches the process for it.

Without an option it listens on 127.0.0.1:8081, and is left out, with a line in the log, when another has that
port: two servers on one machine are nothing unusual. An endpoint that was asked for must be had. One that others
could reach needs a token.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from hardhttp.net.inherited import Inherited
from hardhttp.ops.admin import admin_site
from hardhttp.ops.sentinel import Sentinel, kinds_of
from hardhttp.ops.sources import Sources
from hardhttp.ops.stalls import StallWatch
from hardhttp.sse.stream import EventStream
from hardhttp.tap.checks import resolved
from hardhttp.web.service import HTTPService
from hardhttp.web.site import Site

__all__ = ["AdminListening", "AdminSettings", "AdminSide", "admin_settings"]

MIN_TOKEN_CHARACTERS = 16
_INTERFACE = re.compile(r":interface=((?:\\.|[^:\\])*)")


@attrs.frozen
class AdminSettings:
    """``required`` where the endpoint was asked for; ``endpoint`` is ``None`` for no admin side."""

    endpoint: str | None
    required: bool
    token: str | None = attrs.field(repr=False)


def admin_settings(options: Mapping[str, Any], *, given: bool) -> AdminSettings:
    """What ``--admin`` (``given``, or by default) and ``--admin-token`` say. Raises ``usage.UsageError``."""
    from twisted.internet import reactor

    text, token = options["admin"], options["admin-token"]
    if token is not None:
        token = resolved("admin-token", token)
        if len(token) < MIN_TOKEN_CHARACTERS or not re.fullmatch(r"[!-~]*", token):
            raise usage.UsageError(
                f"--admin-token must be at least {MIN_TOKEN_CHARACTERS} printable characters without blanks"
            )
    if text == "none":
        return AdminSettings(None, given, None)
    try:
        serverFromString(reactor, text)
    except Exception as error:  # each endpoint's parser raises what it likes
        raise usage.UsageError(
            f"--admin {text!r}: {error or type(error).__name__}; it is an endpoint, such as "
            "tcp:8081:interface=127.0.0.1 or unix:/run/hardhttp/admin, or none"
        ) from None
    if token is None and not _is_private(text):
        raise usage.UsageError(
            f"--admin {text!r}: others could reach it; give --admin-token too, or let interface be 127.0.0.1"
        )
    if text.startswith("unix:") and ":mode=" not in text:
        text += ":mode=600"  # Twisted's own would let everybody in
    return AdminSettings(text, given, token)


def _is_private(text: str) -> bool:
    """Whether only this machine reaches an endpoint."""
    if text.startswith("unix:"):
        return True
    found = _INTERFACE.search(text)
    interface = re.sub(r"\\(.)", r"\1", found[1]) if found else ""
    try:
        return interface == "localhost" or ip_address(interface).is_loopback
    except ValueError:
        return False


class AdminListening:
    """``site`` where ``settings`` say. ``start`` fails with ``CannotListenError`` where the endpoint is required."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, settings: AdminSettings, site: Site, reactor: Any, inherited: Inherited | None = None) -> None:
        endpoints = [] if settings.endpoint is None else [settings.endpoint]
        self._required = settings.required
        self._http = HTTPService(site, endpoints, reactor, inherited=inherited)

    @property
    def ports(self) -> list[Any]:
        return self._http.ports

    def start(self) -> Deferred[Any]:
        return self._http.startService().addCallbacks(self._listens, self._cannot_listen)

    def _listens(self, ports: list[Any]) -> None:
        for port in ports:
            self._log.info("the admin side is at {where}", where=_where(port))

    def _cannot_listen(self, failure: Failure) -> Failure | None:
        if self._required or failure.check(CannotListenError) is None:
            return failure
        self._log.warn(
            "there is no admin side: {error}. Something else has that port; --admin tcp:PORT:interface=127.0.0.1 "
            "gives it another, --admin none says that none is needed",
            error=failure.getErrorMessage().rstrip("."),
        )
        return None

    def stop(self) -> Deferred[Any]:
        return self._http.stopService() if self._http.running else succeed(None)


class AdminSide:
    """The admin site, the watch on stalls and the leak sentinel, as one that starts and stops.

    ``sources`` is completed by what this makes. ``start`` fires with nothing, or fails with ``CannotListenError``
    where the endpoint is required.
    """

    def __init__(
        self, settings: AdminSettings, sources: Sources, reactor: Any, inherited: Inherited | None = None
    ) -> None:
        self._sources, self._reactor = sources, reactor
        self.stalls = sources.stalls = StallWatch(reactor)
        self._listening: AdminListening | None = None
        if settings.endpoint is not None:
            # A watcher that takes nothing for half a minute is let go.
            events = EventStream(reactor, max_queued_events=30)
            site = admin_site(sources, reactor, settings.token, events)
            sources.others.append(site.server)
            self._listening = AdminListening(settings, site, reactor, inherited)
        self.sentinel = sources.sentinel = Sentinel(sources.server, kinds_of(sources, reactor))

    @property
    def ports(self) -> list[Any]:
        return [] if self._listening is None else self._listening.ports

    def start(self) -> Deferred[Any]:
        self._sources.server.chores.append(self.sentinel)
        self._reactor.callWhenRunning(self._watch)
        return succeed(None) if self._listening is None else self._listening.start()

    def _watch(self) -> None:
        if self.sentinel in self._sources.server.chores:  # it may have stopped before the reactor began
            self.stalls.start()

    def stop(self) -> Deferred[Any]:
        if self.sentinel in self._sources.server.chores:
            self._sources.server.chores.remove(self.sentinel)
        self.stalls.stop()
        return succeed(None) if self._listening is None else self._listening.stop()


def _where(port: Any) -> str:
    address = port.getHost()
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", None)
        return os.fsdecode(name) if name else str(address)
    return f"port {address.port} of {host}"
