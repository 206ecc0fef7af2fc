"""Where a Redis is: its URL, taken apart.

- ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]``, and ``rediss://`` for TLS, the host's certificate checked;
- ``unix:PATH[?db=DB]``, or ``unix://[[USER]:PASSWORD@]/PATH[?db=DB]``.

A password is percent-encoded where it holds a character that means something in a URL. It is in no ``repr``
and no message, and so no message quotes the URL: where one is malformed, nobody knows which part is the secret.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint

__all__ = ["RedisAddress"]

PORT = 6379
EXAMPLES = "it should be such as redis://127.0.0.1:6379/0, redis://:PASSWORD@HOST or unix:/run/redis.sock?db=1"


@attrs.frozen
class RedisAddress:
    """A Redis and one of its databases. ``str()`` of it can be shown to anybody."""

    scheme: str
    host: str
    port: int
    path: str
    database: int
    username: str | None = attrs.field(default=None, repr=False)
    password: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Raises ``ValueError`` that says what would do."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # from None: its words hold what stands in the port's place.
            raise ValueError(f"the Redis URL is malformed; {EXAMPLES}") from None
        username = unquote(parts.username) if parts.username else None
        password = unquote(parts.password) if parts.password else None
        if username and password is None:
            raise ValueError(f"the Redis URL has a user without a password; {EXAMPLES}")
        if parts.scheme == "unix":
            query = parse_qs(parts.query)
            if not parts.path or parts.hostname or parts.fragment or set(query) - {"db"}:
                raise ValueError(f"the Redis URL is no path of a socket; {EXAMPLES}")
            database = _database(query.get("db", ["0"])[-1])
            return cls("unix", "", 0, unquote(parts.path), database, username, password)
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError(f"the Redis URL begins with neither redis:, rediss: nor unix:; {EXAMPLES}")
        if not parts.hostname or parts.query or parts.fragment or port == 0:
            raise ValueError(f"the Redis URL is malformed; {EXAMPLES}")
        database = _database(parts.path.removeprefix("/") or "0")
        return cls(parts.scheme, parts.hostname, port or PORT, "", database, username, password)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}?db={self.database}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}/{self.database}"

    def endpoint(self, reactor: Any, seconds: float) -> IStreamClientEndpoint:
        """What connects there within ``seconds``."""
        endpoint: IStreamClientEndpoint
        if self.scheme == "unix":
            return UNIXClientEndpoint(reactor, self.path, timeout=seconds)
        if isIPAddress(self.host):
            endpoint = TCP4ClientEndpoint(reactor, self.host, self.port, timeout=seconds)
        elif isIPv6Address(self.host):
            endpoint = TCP6ClientEndpoint(reactor, self.host, self.port, timeout=seconds)
        else:
            endpoint = HostnameEndpoint(reactor, self.host, self.port, timeout=seconds)
        if self.scheme == "rediss":
            from twisted.internet.ssl import optionsForClientTLS

            endpoint = wrapClientTLS(optionsForClientTLS(self.host), endpoint)
        return endpoint


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ValueError(f"the Redis URL's database is not a number; {EXAMPLES}")
    return int(text)
