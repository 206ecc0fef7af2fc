"""The options of ``twistd hardhttp``.

Everything that can be known to be wrong before a port is opened is a ``usage.UsageError`` that
names the option, what was given and what would do: twistd prints it and exits. One option stands
for each field of ``Limits``, made from the field itself, so none can be forgotten.
"""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable
from typing import Any

import attrs
from twisted import copyright as twisted_copyright
from twisted.python import usage
from twisted.web.resource import IResource

from hardhttp import __version__
from hardhttp.errors import LimitError
from hardhttp.limits import Limits
from hardhttp.tap.checks import DEFAULT_LISTEN, check_descriptors, check_endpoint, networks
from hardhttp.tap.resources import Webroot, WebrootOver, load_app
from hardhttp.units import UnitError, format_seconds, format_size, parse_count, parse_seconds, parse_size
from hardhttp.web.accesslog import AccessLog

__all__ = ["Options"]


def _units(name: str) -> tuple[Callable[[str], Any], Callable[[Any], str]]:
    """How a limit's value is read and written; its name ends in its unit."""
    if name.endswith("_seconds"):
        return parse_seconds, format_seconds
    if name.endswith(("_bytes", "_bytes_per_second")):
        return parse_size, format_size
    return parse_count, str


def _option(field: attrs.Attribute[Any]) -> str:
    return field.name.replace("_", "-")


def _bounds(field: attrs.Attribute[Any]) -> str:
    low, high = field.metadata["low"], field.metadata["high"]
    written = _units(field.name)[1]
    if written is format_seconds:
        text = f"from {format_seconds(low)} to {format_seconds(high)}"
    else:
        text = f"from {low:,} to {high:,}" + (f" ({format_size(high)})" if written is format_size else "")
    return text + (", or none" if field.metadata["optional"] else "")


def _read_limit(field: attrs.Attribute[Any]) -> Callable[[str], Any]:
    """What turns an option's text into the field's value; ``Limits`` itself is the judge of it."""
    parse = _units(field.name)[0]

    def read(text: str) -> Any:
        if field.metadata["optional"] and text.strip().lower() == "none":
            return None
        try:
            value = parse(text)
            Limits(**{field.name: value})
        except UnitError as error:
            raise usage.UsageError(f"--{_option(field)}: {error}; it must be {_bounds(field)}") from None
        except LimitError:
            raise usage.UsageError(f"--{_option(field)} is {text}; it must be {_bounds(field)}") from None
        return value

    return read


class Options(usage.Options):
    """What ``twistd hardhttp`` takes.

    Once parsed, ``limits`` is the ``Limits`` asked for, ``access_log`` the log if there is one, and
    ``resource`` what ``--app`` and ``--webroot`` describe, ``None`` for the welcome page.
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

Sizes: 1048576, 64k, 10MiB (1024s), 10MB (1000s). Times: 1.5, 500ms, 90s, 2m, 1h.
SIGTERM stops listening and lets responses in flight end, for --drain-seconds."""

    optFlags = [["development", None, "show tracebacks in error pages: never where strangers can see them"]]
    optParameters = [
        ["webroot", None, None, "serve the files below this directory; no listings, no dotfiles"],
        ["app", None, None, "serve MODULE:NAME: an IResource, or a callable that returns one"],
        [
            "trusted-proxies",
            None,
            None,
            (
                "addresses or networks, separated by commas, that stand for many clients: "
                "--max-connections-per-address is not for them (nor for loopback)"
            ),
        ],
        [
            "access-log",
            None,
            "none",
            "a line for each request goes to this file, or to - (standard output); default: none",
        ],
        *([_option(f), None, f.default, f.metadata["help"], _read_limit(f)] for f in attrs.fields(Limits)),
    ]
    compData = usage.Completions(
        optActions={"webroot": usage.CompleteDirs(), "access-log": usage.CompleteFiles()}, multiUse=["listen"]
    )

    limits: Limits
    access_log: AccessLog | None = None
    resource: IResource | None = None

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = []

    def opt_listen(self, description: str) -> None:
        """listen on this endpoint (strports: tcp:80, ssl:443:privateKey=key.pem, unix:/run/http); may be repeated"""
        self["listen"].append(description)

    def opt_version(self) -> None:
        """Display the versions of hardhttp and Twisted and exit."""
        print(f"hardhttp {__version__}, Twisted {twisted_copyright.version}")  # noqa: T201 - what was asked for
        raise SystemExit(0)

    def postOptions(self) -> None:
        self.limits = Limits(**{f.name: self[_option(f)] for f in attrs.fields(Limits)})
        self["listen"] = self["listen"] or [DEFAULT_LISTEN]
        for description in self["listen"]:
            check_endpoint(description)
        check_descriptors(self.limits.max_connections)
        self.trusted_proxies = networks(self["trusted-proxies"])
        self.access_log = self._access_log()
        webroot = self._webroot()
        app = load_app(self["app"]) if self["app"] is not None else None
        if webroot is None or app is None:
            self.resource = webroot if app is None else app
        else:
            self.resource = WebrootOver(webroot, app)

    def _access_log(self) -> AccessLog | None:
        from twisted.internet import reactor

        path = self["access-log"]
        if path == "none":
            return None
        if path != "-":
            self["access-log"] = path = os.path.abspath(path)
        log = AccessLog(path, reactor)
        try:
            log.open()
        except OSError as error:
            raise usage.UsageError(f"--access-log {path} cannot be written: {error.strerror}") from None
        log.close()
        return log

    def _webroot(self) -> Webroot | None:
        path = self["webroot"]
        if path is None:
            return None
        self["webroot"] = path = os.path.abspath(path)
        if not os.path.isdir(path):
            raise usage.UsageError(f"--webroot {path} is not a directory")
        if not os.access(path, os.R_OK | os.X_OK):
            raise usage.UsageError(f"--webroot {path} cannot be read")
        return Webroot(path)

    def getUsage(self, width: int | None = None) -> str:
        """Every option, in groups, with its default where its value goes; then the examples."""
        width = width or int(os.environ.get("COLUMNS", "80"))
        limits = [_option(field) for field in attrs.fields(Limits)]
        groups = {
            "What is served, and where:": [
                "listen",
                "webroot",
                "app",
                "access-log",
                "trusted-proxies",
                "development",
                "version",
                "help",
            ],
            "How many:": [name for name in limits if not name.endswith(("-bytes", "-second", "-seconds"))],
            "How large:": [name for name in limits if name.endswith("-bytes")],
            "How long, and how fast:": [name for name in limits if name.endswith(("-second", "-seconds"))],
        }
        values = {"listen": DEFAULT_LISTEN, "webroot": "DIRECTORY", "app": "MODULE:NAME", "access-log": "FILE|-|none"}
        values["trusted-proxies"] = "ADDRESS[/PREFIX],..."
        for field in attrs.fields(Limits):
            values[_option(field)] = "none" if field.default is None else _units(field.name)[1](field.default)
        lines = ["Each limit is shown with its default."]
        for title, names in groups.items():
            lines += ["", title]
            for name in names:
                text = " ".join((self.docs[name] or "").split())
                lines.append(f"  --{name}={values[name]}" if name in values else f"  --{name}")
                lines += textwrap.wrap(text, width, initial_indent=" " * 8, subsequent_indent=" " * 8)
        return "\n".join([*lines, "", self.longdesc, ""])
