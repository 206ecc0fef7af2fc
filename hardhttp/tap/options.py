"""The options of ``twistd hardhttp``.

Everything that can be known to be wrong before a port is opened is a ``usage.UsageError`` that
names the option, what was given and what would do: twistd prints it and exits.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap
from typing import TYPE_CHECKING, Any

from twisted import copyright as twisted_copyright
from twisted.python import usage
from twisted.web.resource import IResource, Resource

from hardhttp import __version__
from hardhttp.errors import StoreError
from hardhttp.interfaces import ISessionStore
from hardhttp.limits import Limits
from hardhttp.net.inherited import Inherited, InheritedError, begun_with
from hardhttp.ops.configfile import nearest
from hardhttp.stores import open_store
from hardhttp.tap.admin import AdminSettings, admin_settings
from hardhttp.tap.around import around
from hardhttp.tap.checks import (
    DEFAULT_LISTEN,
    cache_rule,
    check_descriptors,
    check_endpoints,
    check_place,
    log_settings,
    networks,
    resolved,
)
from hardhttp.tap.configuration import KINDS, ON_THE_COMMAND_LINE, Sources, effective, gathered
from hardhttp.tap.hints import hint_rules
from hardhttp.tap.hub import HubOver, make_mercure
from hardhttp.tap.limitoptions import FIELDS, option_name, reader, written
from hardhttp.tap.logging import check_log
from hardhttp.tap.optiontable import GROUPS, OPTIONS, Option
from hardhttp.tap.ownedfiles import make_owned
from hardhttp.tap.resources import WebrootOver, load_app
from hardhttp.tap.restart import Start
from hardhttp.tap.selftest import become_the_attack
from hardhttp.tap.successor import Predecessor
from hardhttp.tap.tls import read_listen, secured
from hardhttp.tap.workeroptions import WorkerSettings, share_of, worker_place, worker_settings
from hardhttp.tap.workers import check_in_a_child
from hardhttp.web.accesslog import AccessLog
from hardhttp.web.hintrules import HintRules
from hardhttp.web.hints import Hints
from hardhttp.web.static import StaticFiles

if TYPE_CHECKING:
    from hardhttp.net.tlsendpoint import TLSListen
    from hardhttp.ops.workerlink import Place
    from hardhttp.sse.mercure import Mercure

__all__ = ["Options"]

_UNKNOWN = re.compile(r"option --(\S+) not recognized")


def _is_flag(option: Option) -> bool:
    return option.value is None and option.name not in ("version", "help")


def _is_parameter(option: Option) -> bool:
    return option.value is not None and not option.several


def _with_nearest(message: str) -> str:
    """getopt's complaint about an option that there is not, with the one that was most likely meant."""
    found = _UNKNOWN.fullmatch(message)
    name = None if found is None else nearest(found[1], KINDS.keys() | ON_THE_COMMAND_LINE)
    return message if name is None else f"{message}; did you mean --{name}?"


class Options(usage.Options):
    """What ``twistd hardhttp`` takes.

    Once parsed, ``limits`` is the ``Limits`` asked for, ``listening`` where to listen, ``access_log`` the log if any,
    ``session_store`` the store, and ``resource`` what ``--app`` and ``--webroot`` describe, ``None`` for
    the welcome page; ``around`` puts the wrappers around either. ``given`` is what each option was said to be, and
    ``sources`` where.
    """

    synopsis = "[options]"
    longdesc = """\
Examples:

  twistd -n hardhttp
      a welcome page with the server's own figures, live, on http://127.0.0.1:8080/

  twistd -n hardhttp --listen tcp:80 --webroot public --access-log access.log
      the files below public/, to everybody, with a line for each request

  twistd -n hardhttp --app shop.web:root --max-body-bytes 64MiB --idle-seconds 30s
      the resource named root in shop/web.py, with two limits of its own

  twistd -n hardhttp --app shop.web:root --session-store sqlite:sessions.db \\
          --compress --security-headers --rate-limit 99/m --trusted-proxies 10.0.0.7
      the same behind a proxy, with sessions that survive a restart

Sizes: 1048576, 64k, 10MiB (1024s), 10MB (1000s). Times: 1.5, 500ms, 90s, 2m, 1h.
SIGTERM stops listening and lets responses in flight end, for --drain-seconds.
SIGUSR2 has another process like this one take over, without refusing anybody.
SIGHUP reads certificates and the file of --config again."""

    optFlags = [[option.name, None, option.help] for option in OPTIONS.values() if _is_flag(option)]
    optParameters = [
        *([option.name, None, option.default, option.help] for option in OPTIONS.values() if _is_parameter(option)),
        *([option_name(field), None, field.default, field.metadata["help"], reader(field)] for field in FIELDS),
    ]
    compData = usage.Completions(
        optActions={
            "webroot": usage.CompleteDirs(),
            "access-log": usage.CompleteFiles(),
            "tls-client-ca": usage.CompleteFiles(),
            "config": usage.CompleteFiles("*.toml"),
        },
        multiUse=[option.name for option in OPTIONS.values() if option.several],
    )

    given: dict[str, Any]
    sources: Sources
    limits: Limits
    listening: list[str | TLSListen]
    admin: AdminSettings
    access_log: AccessLog | None = None
    resource: IResource | None = None
    session_store: ISessionStore
    mercure: Mercure | None = None
    hints: HintRules | None = None
    _is_wrong = False  # what was given
    workers: WorkerSettings | None = None
    place: Place | None = None

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []  # of the command line
        self.directory = ""  # that a relative --config is in
        self.start = Start.now()
        self.predecessor = Predecessor.from_environment(os.environ)
        self.inherited = Inherited()
        for option in OPTIONS.values():
            if option.several:
                self[option.name] = []

    def parseOptions(self, options: list[str] | None = None) -> None:
        """Take the command line's words, and those of the file that they name."""
        self.words = list(sys.argv[1:] if options is None else options)
        self.sources = Sources(None, {}, frozenset())
        try:
            words, self.sources = gathered(self, self.words, self.directory)
            super().parseOptions(words)
        except usage.UsageError as error:
            said = self.sources.blamed(_with_nearest(str(error)))
            self._is_wrong = True
            if "--check" in self.words:
                print(said, file=sys.stderr)  # noqa: T201 - what was asked for
                raise SystemExit(1) from None
            if self.predecessor is not None:
                self.predecessor.failed(said)
            raise usage.UsageError(said) from None
        self.directory = os.getcwd()  # a daemon goes elsewhere
        if self["check"]:
            print(effective(self), end="")  # noqa: T201 - what was asked for
            raise SystemExit(0)
        if self["self-test"]:
            become_the_attack(self.words)
        if self.supervises:
            check_in_a_child(self)

    def parseArgs(self, *words: str) -> None:
        if words:
            raise usage.UsageError(f"{words[0]!r} belongs to no option; a directory of files is --webroot {words[0]}")

    def opt_listen(self, description: str) -> None:
        self["listen"].append(description)

    def opt_cache_control(self, rule: str) -> None:
        self["cache-control"].append(cache_rule(rule))

    # What usage.Options shows and completes.
    opt_listen.__doc__ = OPTIONS["listen"].help
    opt_cache_control.__doc__ = OPTIONS["cache-control"].help

    def opt_version(self) -> None:
        """Display the versions of hardhttp and Twisted and exit."""
        print(f"hardhttp {__version__}, Twisted {twisted_copyright.version}")  # noqa: T201 - what was asked for
        raise SystemExit(0)

    @property
    def supervises(self) -> bool:
        """Whether this process is the parent of those that serve. It makes nothing that only they need."""
        return self.workers is not None and self.place is None and self.parent is not None and not self["check"]

    def postOptions(self) -> None:
        self.given = {**self}
        if self.predecessor is not None:
            self.predecessor.keep_pidfile(self.parent)
        self.place = worker_place()
        self.workers = worker_settings(self)
        self.take_limits()
        self["listen"] = self["listen"] or [DEFAULT_LISTEN]
        self.inherited = self._inherited()
        self.listening = self._listening()
        self.take_proxies()
        self.admin = admin_settings(self, given=self.sources.of("admin") != "default")
        check_endpoints(self["listen"], self["admin"] if self.admin.required and self.admin.endpoint else None)
        if self.place is not None:
            self.admin = AdminSettings(None, False, None)  # the parent has it
        check_log(self)
        self.access_log = self._access_log()
        if self.supervises:
            return
        self.session_store = self._session_store()
        webroot = self._webroot()
        app = load_app(self["app"]) if self["app"] is not None else None
        if webroot is None or app is None:
            self.resource = webroot if app is None else app
        else:
            self.resource = WebrootOver(webroot, app)
        self.mercure = self._mercure()
        self.hints = hint_rules(self)
        self.around(Resource())  # whatever is wrong with the wrappers is known now

    def take_limits(self) -> None:
        self.limits = Limits(**{field.name: self[option_name(field)] for field in FIELDS})
        if self.workers is not None:
            share = share_of(self.limits, self.workers.count)
            check_descriptors(share.max_connections)
            if self.place is not None:
                self.limits = share
                self.update({option_name(field): getattr(share, field.name) for field in FIELDS})
        else:
            check_descriptors(self.limits.max_connections)

    def take_proxies(self) -> None:
        self.trusted_proxies = networks(self["trusted-proxies"])
        if self["proxy-protocol"] and not self.trusted_proxies:
            raise usage.UsageError("--proxy-protocol believes only --trusted-proxies, and none are given")

    def around(self, resource: IResource) -> IResource:
        """``resource`` with what these options put around it."""
        if self.hints is not None or self["push-preloads"]:
            rules = HintRules({}) if self.hints is None else self.hints
            resource = Hints(resource, rules, push_preloads=bool(self["push-preloads"]))
        if self.mercure is not None:
            resource = HubOver(self.mercure, resource, ui=bool(self["mercure-ui"]))
        return secured(around(resource, self), self, self.listening)

    def _listening(self) -> list[str | TLSListen]:
        from twisted.internet import reactor

        return read_listen(self, reactor)

    def _inherited(self) -> Inherited:
        try:
            return Inherited.from_environment(begun_with(os.environ), os.getpid())
        except InheritedError as error:
            raise usage.UsageError(f"--listen: {error}") from None

    def _mercure(self) -> Mercure | None:
        from twisted.internet import reactor

        return make_mercure(self, reactor)

    def _access_log(self) -> AccessLog | None:
        from twisted.internet import reactor

        path = self["access-log"]
        form, rotate_bytes, rotate_count = log_settings(self)
        if path == "none":
            return None
        if path != "-":
            self["access-log"] = path = os.path.abspath(path)
        log = AccessLog(path, reactor, format=form, rotate_bytes=rotate_bytes, rotate_count=rotate_count)
        if self["check"]:
            check_place("access-log", path)
            return log
        if path != "-":
            make_owned(path, 0o640, self.parent)
        try:
            log.open()
        except OSError as error:
            raise usage.UsageError(f"--access-log {path} cannot be written: {error.strerror}") from None
        log.close()
        return log

    def _session_store(self) -> ISessionStore:
        from twisted.internet import reactor

        try:
            return open_store(resolved("session-store", self["session-store"]), reactor)
        except (ImportError, ValueError, StoreError) as error:
            raise usage.UsageError(f"--session-store: {error}") from None

    def _webroot(self) -> StaticFiles | None:
        path = self["webroot"]
        if path is None:
            for name in ("listing", "follow-symlinks", "fallback", "cache-control"):
                if self[name]:
                    raise usage.UsageError(f"--{name} is for the files of --webroot, and there is none")
            return None
        if not path:  # a variable of a script that is not set, and then all of the directory it is run in
            raise usage.UsageError("--webroot is empty; the current directory is --webroot .")
        self["webroot"] = path = os.path.abspath(path)
        if not os.path.isdir(path):
            raise usage.UsageError(f"--webroot {path} is not a directory")
        if not os.access(path, os.R_OK | os.X_OK):
            raise usage.UsageError(f"--webroot {path} cannot be read")
        if self["fallback"] is not None and self["app"] is not None:
            raise usage.UsageError("--fallback answers every path that is no file, and nothing would be left for --app")
        if self["fallback"] is not None and not os.path.isfile(os.path.join(path, self["fallback"])):
            raise usage.UsageError(f"--fallback {self['fallback']} is not a file below --webroot {path}")
        try:
            return StaticFiles(
                path,
                listing=bool(self["listing"]),
                follow_symlinks=bool(self["follow-symlinks"]),
                fallback=self["fallback"],
                cache_control=self["cache-control"],
            )
        except ValueError as error:
            raise usage.UsageError(f"--webroot {path}: {error}") from None

    def getUsage(self, width: int | None = None) -> str:
        """Every option, in groups, with its default where its value goes; then the examples.

        twistd prints this above what is wrong with a command line too: one line is enough there.
        """
        if self._is_wrong:
            return "twistd hardhttp --help tells of all options."
        width = width or int(os.environ.get("COLUMNS", "80"))
        lines = ["Each limit is shown with its default."]
        groups: dict[str, list[tuple[str, str | None, str]]] = {
            title: [(option.name, option.value, option.help) for option in options] for title, options in GROUPS.items()
        }
        limits = [(option_name(field), written(field), field.metadata["help"]) for field in FIELDS]
        sizes, times = ("-bytes",), ("-second", "-seconds")
        groups["How many:"] = [limit for limit in limits if not limit[0].endswith(sizes + times)]
        groups["How large:"] = [limit for limit in limits if limit[0].endswith(sizes)]
        groups["How long, and how fast:"] = [limit for limit in limits if limit[0].endswith(times)]
        for title, options in groups.items():
            lines += ["", title]
            for name, value, text in options:
                lines.append(f"  --{name}" if value is None else f"  --{name}={value}")
                lines += textwrap.wrap(text, width, initial_indent=" " * 8, subsequent_indent=" " * 8)
        return "\n".join([*lines, "", self.longdesc, ""])
