"""What makes several hubs one: in one process (``memory``), or on many machines by Redis (``redis``).

Each is an ``IBroker``; ``open_broker`` makes one from the line a command or a configuration holds. What a broker
promises stands at the interface, and one suite of tests holds both to it.
"""

from __future__ import annotations

from typing import Any

from hardhttp.interfaces import BrokerBounds, IBroker

__all__ = ["open_broker"]

FORMS = (
    "it should be memory:, redis://[:PASSWORD@]HOST[:PORT][/DB], rediss://..., unix:PATH, "
    "or redis+sentinel://HOST:PORT,HOST:PORT/MASTER"
)


def open_broker(url: str, reactor: Any, bounds: BrokerBounds | None = None) -> IBroker:
    """The broker that ``url`` names. Nothing is connected before a hub starts it.

    ``memory:`` is one for a single hub. Raises ``ValueError`` for a URL that names no broker, and ``StoreError`` for a
    library that is not installed. Neither quotes the URL, which may hold a password.
    """
    scheme, colon, rest = url.partition(":")
    scheme = scheme.lower()
    if colon and scheme == "memory":
        if rest.strip("/"):
            raise ValueError("a broker in memory takes nothing behind memory:")
        from hardhttp.brokers.memory import Exchange, MemoryBroker

        return MemoryBroker(Exchange(reactor, bounds))
    if colon and scheme in ("redis", "rediss", "redis+sentinel", "rediss+sentinel", "unix"):
        from hardhttp.brokers.redis import RedisBroker

        return RedisBroker(url, reactor, bounds=bounds)
    raise ValueError(f"that is no broker; {FORMS}")
