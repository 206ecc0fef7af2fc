"""Where a server is, and whether one may put load on it.

A soak is an attack. On loopback whoever runs it owns what it hits; any other host has to be named
twice, once as the target and once as one's own, so that no slip of the keyboard reaches a stranger.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

import attrs

__all__ = ["NotOwnError", "Where", "is_loopback"]


class NotOwnError(ValueError):
    """The target is not this machine, and was not named as one's own."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` is this machine by its address or as ``localhost``; no name is looked up."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@attrs.frozen
class Where:
    """A server's address, and which of its paths are for what (``hardhttp.soak.scenario.PATHS``)."""

    scheme: str
    host: str
    port: int
    paths: Mapping[str, str]

    @classmethod
    def of(cls, url: str, paths: Mapping[str, str] | None = None, own: str | None = None) -> Where:
        """``http://HOST[:PORT][/PATH]``, whose path is the one that is asked for honestly.

        Raises ``NotOwnError`` when the host is neither loopback nor ``own``, and ``ValueError`` for what is no URL.
        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is not a URL such as http://127.0.0.1:8080/")
        if not is_loopback(parts.hostname) and parts.hostname != own:
            raise NotOwnError(
                f"{parts.hostname} is not this machine. If it is yours, and nobody else depends on it, "
                f"say so: --i-own {parts.hostname}"
            )
        port = parts.port or (443 if parts.scheme == "https" else 80)
        hello = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(parts.scheme, parts.hostname, port, {"hello": hello, **(paths or {})})

    @property
    def tls(self) -> bool:
        return self.scheme == "https"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.authority}{self.paths['hello']}"
