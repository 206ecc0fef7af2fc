"""Where sessions are kept: in memory, in an SQLite file or in Redis.

Each is an ``ISessionStore``; ``open_store`` makes one from the line a command or a configuration holds.
What a store promises stands at the interface, and one suite of tests holds all three to it.
"""

from __future__ import annotations

from typing import Any

from hardhttp.interfaces import ISessionStore

__all__ = ["open_store"]

FORMS = "it should be memory:, sqlite:PATH, redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://... or unix:PATH"


def open_store(url: str, reactor: Any) -> ISessionStore:
    """The store that ``url`` names: ``memory:``, ``sqlite:PATH``, ``redis://HOST:PORT/DB``.

    Nothing is opened, made or connected before the first call. ``reactor`` is one with time, threads
    and connections. Raises ``ValueError`` for a URL that names no store, and ``StoreError`` for a store that
    cannot be: no directory for its file, a library that is not installed. Neither quotes the URL, which may
    hold a password.
    """
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "memory":
        if rest.strip("/"):
            raise ValueError("a session store in memory takes nothing behind memory:")
        from hardhttp.stores.memory import MemoryStore

        return MemoryStore()
    if colon and scheme == "sqlite":
        if rest in ("", ":memory:"):
            raise ValueError("sqlite: needs the path of a file, such as sqlite:sessions.db (or memory: without a file)")
        from hardhttp.stores.sqlite import SQLiteStore

        return SQLiteStore(_path(rest), reactor)
    if colon and scheme in ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix"):
        from hardhttp.stores.redis import RedisStore

        return RedisStore(url, reactor)
    raise ValueError(f"that is no session store; {FORMS}")


def _path(rest: str) -> str:
    """``///var/a.db`` is ``/var/a.db``: what other programs write as a URL."""
    return rest[2:] if rest.startswith("///") else rest
