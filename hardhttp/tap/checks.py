"""What an option's text stands for, or a ``usage.UsageError`` that says what would do."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_network

from twisted.internet.endpoints import serverFromString
from twisted.python import usage

from hardhttp.units import UnitError, parse_count, parse_size

__all__ = [
    "DEFAULT_LISTEN",
    "SPARE_DESCRIPTORS",
    "cache_rule",
    "check_descriptors",
    "check_endpoint",
    "check_endpoints",
    "check_place",
    "items",
    "log_settings",
    "networks",
    "resolved",
]

DEFAULT_LISTEN = "tcp:8080:interface=127.0.0.1"
# What a process opens besides connections: standard streams, the reactor's own, listening and
# reserved descriptors, logs, and a file being served or a body being spooled now and then.
SPARE_DESCRIPTORS = 24
MIN_ROTATE_BYTES = 64 * 1024
MAX_KEPT_LOGS = 1000
MAX_PORT = 65_535
# Twisted takes any number for one.
_PORT = re.compile(r"(?:tcp6?|ssl):(?:port=)?(-?[0-9]+)(?::|$)")


def items(text: str | None) -> list[str]:
    """What stands between commas."""
    return [item for item in map(str.strip, (text or "").split(",")) if item]


def networks(text: str | None) -> tuple[IPv4Network | IPv6Network | str, ...]:
    """The networks of ``--trusted-proxies``, and ``unix`` for whoever comes by a Unix socket."""
    found: list[IPv4Network | IPv6Network | str] = []
    for item in items(text):
        if item == "unix":
            found.append(item)
            continue
        try:
            found.append(ip_network(item))
        except ValueError as error:
            raise usage.UsageError(
                f"--trusted-proxies {item!r}: {error}; it must be an address, a network (10.0.0.0/8), or unix"
            ) from None
    return tuple(found)


def check_endpoint(description: str) -> None:
    """That ``--listen``'s text is an endpoint."""
    from twisted.internet import reactor

    try:
        serverFromString(reactor, description)
        port = _PORT.match(description)
        if port is not None and not 0 <= int(port[1]) <= MAX_PORT:
            raise ValueError(f"a port is from 0 to {MAX_PORT:,}")
    except Exception as error:  # each endpoint's parser raises what it likes
        raise usage.UsageError(
            f"--listen {description!r}: {error or type(error).__name__}; an endpoint looks like {DEFAULT_LISTEN}"
        ) from None


def check_endpoints(descriptions: Iterable[str], admin: str | None) -> None:
    """That no endpoint is asked for twice, and that sockets of Unix could be made. ``admin``: what ``--admin`` asks."""
    seen: set[str] = set()
    for option, text in [*(("listen", text) for text in descriptions), *([("admin", admin)] if admin else [])]:
        if text in seen and not re.match(r"[a-z0-9]+:0(:|$)", text):  # 0 is any free port
            raise usage.UsageError(f"--{option} {text!r} is listened on already, by another --listen")
        seen.add(text)
        path = re.match(r"unix:(?:address=)?((?:\\.|[^:\\])+)", text)
        if path is not None:
            folder = os.path.dirname(re.sub(r"\\(.)", r"\1", path[1])) or "."
            if not os.path.isdir(folder):
                raise usage.UsageError(f"--{option} {text!r}: there is no directory {folder}")
            if not os.access(folder, os.W_OK | os.X_OK):
                raise usage.UsageError(f"--{option} {text!r}: no socket can be made in {folder}")


def check_place(option: str, path: str) -> None:
    """That a file could be written at ``path``, without making or opening it: a server may be using it."""
    if path == "-":
        return
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        why = "is a directory"
    elif os.path.exists(path):
        why = "" if os.access(path, os.W_OK) else "cannot be written"
    elif not os.path.isdir(folder):
        why = f"cannot be made: there is no directory {folder}"
    else:
        why = "" if os.access(folder, os.W_OK | os.X_OK) else f"cannot be made in {folder}"
    if why:
        raise usage.UsageError(f"--{option} {path} {why}")


def check_descriptors(max_connections: int) -> None:
    """Refuse what the process has no descriptors for; the day it is reached is the wrong day to learn it."""
    try:
        import resource
    except ImportError:  # not a POSIX system
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max_connections + SPARE_DESCRIPTORS
    if soft == resource.RLIM_INFINITY or needed <= soft:
        return
    fits = soft - SPARE_DESCRIPTORS
    advice = f"run `ulimit -n {needed}` first"
    if hard != resource.RLIM_INFINITY and needed > hard:
        advice += f" (the hard limit is {hard}: it takes root, or the service manager)"
    if fits >= 1:
        advice += f", or choose --max-connections {fits}"
    raise usage.UsageError(
        f"--max-connections {max_connections} needs {needed} descriptors, but this process may open {soft}: {advice}"
    )


def resolved(option: str, text: str) -> str:
    """A value that may be a secret: itself, or what ``env:NAME`` or the file of ``file:PATH`` holds."""
    kind, colon, where = text.partition(":")
    if not colon or kind not in ("env", "file"):
        return text
    if kind == "env":
        if where not in os.environ:
            raise usage.UsageError(f"--{option} {text}: there is no {where} in the environment")
        return os.environ[where].strip()
    try:
        with open(where, encoding="utf-8") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise usage.UsageError(
            f"--{option} {text} cannot be read: {getattr(error, 'strerror', None) or error}"
        ) from None


def cache_rule(text: str) -> tuple[str, str]:
    """The two halves of ``PATTERN=VALUE``."""
    pattern, equals, value = text.partition("=")
    if not (pattern and equals and value.strip()):
        raise usage.UsageError(f"--cache-control {text!r} must be PATTERN=VALUE, such as 'img/*=max-age=3600'")
    return pattern, value.strip()


def log_settings(options: Mapping[str, str]) -> tuple[str, int | None, int]:
    """What ``--access-log-format``, ``-rotate`` and ``-keep`` say."""
    form = options["access-log-format"]
    if form not in ("combined", "json"):
        raise usage.UsageError(f"--access-log-format is {form}; it must be combined or json")
    try:
        size = options["access-log-rotate"]
        rotate_bytes = None if size == "none" else parse_size(size)
        if rotate_bytes is not None and rotate_bytes < MIN_ROTATE_BYTES:
            raise UnitError("that is too small")
    except UnitError as error:
        raise usage.UsageError(f"--access-log-rotate: {error}; it must be at least 64KiB, or none") from None
    try:
        keep = parse_count(options["access-log-keep"])
        if not 1 <= keep <= MAX_KEPT_LOGS:
            raise UnitError(f"{keep} files")
    except UnitError as error:
        raise usage.UsageError(f"--access-log-keep: {error}; it must be from 1 to {MAX_KEPT_LOGS}") from None
    return form, rotate_bytes, keep
