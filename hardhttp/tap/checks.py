"""What an option's text stands for, or a ``usage.UsageError`` that says what would do."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network

from twisted.internet.endpoints import serverFromString
from twisted.python import usage

__all__ = ["DEFAULT_LISTEN", "SPARE_DESCRIPTORS", "check_descriptors", "check_endpoint", "items", "networks"]

DEFAULT_LISTEN = "tcp:8080:interface=127.0.0.1"
# What a process opens besides connections: standard streams, the reactor's own, listening and
# reserved descriptors, logs, and a file being served or a body being spooled now and then.
SPARE_DESCRIPTORS = 24


def items(text: str | None) -> list[str]:
    """What stands between commas."""
    return [item for item in map(str.strip, (text or "").split(",")) if item]


def networks(text: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks of ``--trusted-proxies``."""
    found = []
    for item in items(text):
        try:
            found.append(ip_network(item))
        except ValueError as error:
            raise usage.UsageError(
                f"--trusted-proxies {item!r}: {error}; it must be an address or a network, as 10.0.0.7 or 10.0.0.0/8"
            ) from None
    return tuple(found)


def check_endpoint(description: str) -> None:
    """That ``--listen``'s text is an endpoint."""
    from twisted.internet import reactor

    try:
        serverFromString(reactor, description)
    except Exception as error:  # each endpoint's parser raises what it likes
        raise usage.UsageError(
            f"--listen {description!r}: {error or type(error).__name__}; an endpoint looks like {DEFAULT_LISTEN}"
        ) from None


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
