"""What SIGHUP does about the file of ``--config``.

The file is read again with the same command line before it, and judged whole before anything changes: a file
that is wrong is one line in the log, and all stays as it is. Limits are in force with the next thing they
bound, what is around the resource with the next request. An option that is for the start alone is named in the
log when it differs from what is running, and left.
"""

from __future__ import annotations

from typing import Any

from twisted.logger import Logger
from twisted.python import usage
from twisted.web.resource import Resource

from hardhttp.ops.logs import Logs
from hardhttp.tap.configuration import AT_ONCE, KINDS
from hardhttp.tap.hints import check_hints_to
from hardhttp.tap.hub import most_subscribers
from hardhttp.tap.limitoptions import FIELDS, option_name
from hardhttp.tap.logging import check_log
from hardhttp.tap.options import Options
from hardhttp.web.site import Site

__all__ = ["Reloaded", "no_file_to_read"]

_LIMITS = frozenset(option_name(field) for field in FIELDS)
_STAY = frozenset(KINDS) - AT_ONCE - _LIMITS

# What the wrappers are made of.
_AROUND = AT_ONCE - {"development", "early-hints-to", "log-level", "trusted-proxies"}


class _Again(Options):
    """The options of a file read again: what may change now is judged, and nothing is opened."""

    def __init__(self, running: Options) -> None:
        super().__init__()
        self._running = running
        self.directory = running.directory
        self.workers, self.place = running.workers, running.place

    def postOptions(self) -> None:
        running = self._running
        self.given = {**self}
        # What stays stays whole: the wrappers look at some of it.
        self.update({name: running[name] for name in _STAY})
        self.take_limits()
        self.take_proxies()
        check_hints_to(self["early-hints-to"])
        check_log(self)
        self.listening, self.mercure, self.hints = running.listening, running.mercure, running.hints
        self.around(Resource())


def no_file_to_read() -> None:
    """SIGHUP at a server that was started without ``--config``: it goes on, and says so."""
    Reloaded._log.info("SIGHUP: there is no file of --config to read again; the options stay as they are")


class Reloaded:
    """Puts what the file says now in force on ``site``. ``resource`` is what the wrappers are put around."""

    _log = Logger(namespace="hardhttp")

    def __init__(self, options: Options, site: Site, resource: Any, logs: Logs | None = None) -> None:
        self._options, self._site, self._resource, self._logs = options, site, resource, logs
        self._given = options.given

    def read_again(self) -> None:
        """Never raises for what the file holds."""
        fresh = _Again(self._options)
        try:
            fresh.parseOptions(self._options.words)
        except usage.UsageError as error:
            self._log.error("the configuration stays as it was: {error}", error=str(error))
            return
        differ = {name for name in KINDS if fresh.given[name] != self._given[name]}
        changed, waits = differ - _STAY, differ & _STAY
        if changed:
            self._put_in_force(fresh, changed)
        self._log.info(
            "{path} was read again: {what}",
            path=fresh.sources.path,
            what=f"changed: {', '.join(sorted(changed))}" if changed else "nothing to change",
        )
        if waits:
            self._log.warn("these change with the next start alone: {names}", names=", ".join(sorted(waits)))

    def _put_in_force(self, fresh: Options, changed: set[str]) -> None:
        site = self._site
        around = fresh.around(self._resource) if changed & _AROUND else site.resource
        site.limits, site.trusted_proxies = fresh.limits, fresh.trusted_proxies
        if self._options.mercure is not None:
            self._options.mercure.hub.max_subscribers = most_subscribers(fresh.limits.max_connections)
        site.early_hints_to = fresh["early-hints-to"]
        site.displayTracebacks = bool(fresh["development"])
        site.resource = around
        if self._logs is not None and "log-level" in changed:
            self._logs.level = fresh["log-level"]
        self._given = self._given | {name: fresh.given[name] for name in changed}
