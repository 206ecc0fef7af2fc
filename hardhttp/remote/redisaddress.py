"""Where a Redis is: its URL, taken apart.

- ``redis://[[USER]:PASSWORD@]HOST[:PORT][/DB]``;
- ``rediss://[[USER]:PASSWORD@]HOST[:PORT][/DB][?ca=PATH&cert=PATH&key=PATH]`` for TLS, the host's certificate checked
  (``hardhttp.remote.redistls`` says more);
- ``unix:PATH[?db=DB]``, or ``unix://[[USER]:PASSWORD@]/PATH[?db=DB]``;
- ``redis+sentinel://[[USER]:PASSWORD@]HOST[:PORT][,HOST[:PORT]...]/MASTER[/DB]``: the sentinels at these hosts say
  where the Redis is that they call MASTER. ``rediss+sentinel:`` is the same over TLS, to sentinels and master, whose
  certificate must be for the name or address by which they know it. The password is the master's; sentinels are asked
  without one.

A password is percent-encoded where it holds a character that means something in a URL. It is in no ``repr``
and no message, and so no message quotes the URL: where one is malformed, nobody knows which part is the secret.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

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

from hardhttp.remote.redistls import RedisTLS

__all__ = ["RedisAddress"]

PORT = 6379
SENTINEL_PORT = 26379
MAX_SENTINELS = 16
_SENTINEL = "+sentinel"
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
    sentinels: tuple[tuple[str, int], ...] = ()
    master: str = ""
    tls: RedisTLS | None = None

    @classmethod
    def parse(cls, url: str) -> RedisAddress:
        """Raises ``ValueError`` that says what would do."""
        try:
            parts = urlsplit(url)
            port = None if parts.scheme.endswith(_SENTINEL) else parts.port
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
        if parts.scheme in ("redis" + _SENTINEL, "rediss" + _SENTINEL):
            return _behind_sentinels(parts, username, password)
        if parts.scheme not in ("redis", "rediss"):
            raise ValueError(f"the Redis URL begins with none of redis:, rediss:, redis+sentinel:, unix:; {EXAMPLES}")
        if not parts.hostname or parts.fragment or port == 0 or (parts.query and parts.scheme == "redis"):
            raise ValueError(f"the Redis URL is malformed; {EXAMPLES}")
        database = _database(parts.path.removeprefix("/") or "0")
        tls = _tls(parts)
        return cls(parts.scheme, parts.hostname, port or PORT, "", database, username, password, tls=tls)

    def __str__(self) -> str:
        if self.scheme == "unix":
            return f"unix:{self.path}?db={self.database}"
        if self.sentinels:
            hosts = ",".join(_host_and_port(*each) for each in self.sentinels)
            return f"{self.scheme}{_SENTINEL}://{hosts}/{self.master}/{self.database}"
        return f"{self.scheme}://{_host_and_port(self.host, self.port)}/{self.database}"

    def at(self, host: str, port: int) -> RedisAddress:
        """The same Redis, where a sentinel says it is."""
        return attrs.evolve(self, host=host, port=port, sentinels=(), master="")

    def of_sentinels(self) -> tuple[RedisAddress, ...]:
        """Where each sentinel is."""
        return tuple(RedisAddress(self.scheme, host, port, "", 0, tls=self.tls) for host, port in self.sentinels)

    def endpoint(self, reactor: Any, seconds: float) -> IStreamClientEndpoint:
        """What connects there within ``seconds``. Raises ``ValueError`` for certificates that cannot be used."""
        endpoint: IStreamClientEndpoint
        if self.scheme == "unix":
            return UNIXClientEndpoint(reactor, self.path, timeout=seconds)
        if isIPAddress(self.host):
            endpoint = TCP4ClientEndpoint(reactor, self.host, self.port, timeout=seconds)
        elif isIPv6Address(self.host):
            endpoint = TCP6ClientEndpoint(reactor, self.host, self.port, timeout=seconds)
        else:
            endpoint = HostnameEndpoint(reactor, self.host, self.port, timeout=seconds)
        if self.tls is not None:
            endpoint = wrapClientTLS(self.tls.options(self.host), endpoint)
        return endpoint


def _tls(parts: SplitResult) -> RedisTLS | None:
    return RedisTLS.parse(parse_qs(parts.query)) if parts.scheme.startswith("rediss") else None


def _database(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 6):
        raise ValueError(f"the Redis URL's database is not a number; {EXAMPLES}")
    return int(text)


def _host_and_port(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _behind_sentinels(parts: SplitResult, username: str | None, password: str | None) -> RedisAddress:
    master, _, database = parts.path.removeprefix("/").partition("/")
    found: list[tuple[str, int]] = []
    for each in parts.netloc.rpartition("@")[2].split(","):
        try:
            one = urlsplit(f"//{each}")
            host, port = one.hostname, one.port
        except ValueError:
            host = port = None
        if not host or port == 0:
            raise ValueError(f"the Redis URL names a sentinel that is no HOST:PORT; {EXAMPLES}")
        found.append((host, port or SENTINEL_PORT))
    scheme = parts.scheme.removesuffix(_SENTINEL)
    if not master or parts.fragment or (parts.query and scheme == "redis") or len(found) > MAX_SENTINELS:
        raise ValueError("the Redis URL is malformed; it should be redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DB")
    number = _database(database or "0")
    return RedisAddress(scheme, "", 0, "", number, username, password, tuple(found), unquote(master), _tls(parts))
