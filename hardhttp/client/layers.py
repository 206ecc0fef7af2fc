"""Agents around agents: what an outer one may know of those within.

An agent of ours says it itself, by ``limits``, ``clock`` and ``takes_limits``; through others, as Twisted's
``CookieAgent``, it is looked for in what they are around (``agent`` or ``_agent``).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from twisted.internet.interfaces import IReactorTime

from hardhttp.client.limits import ClientLimits

__all__ = ["clock_of", "limits_of", "takes_limits"]

# Nobody has so many; an object that makes up its attributes has no end.
MAX_LAYERS = 30


def _layers(agent: Any) -> Iterator[Any]:
    for _ in range(MAX_LAYERS):
        if agent is None:
            return
        yield agent
        agent = getattr(agent, "agent", None) or getattr(agent, "_agent", None)


def limits_of(agent: Any) -> ClientLimits:
    """The limits of ``agent``, or of the one that it is around; the defaults where none of them says."""
    for layer in _layers(agent):
        limits = getattr(layer, "limits", None)
        if isinstance(limits, ClientLimits):
            return limits
    return ClientLimits()


def clock_of(agent: Any) -> IReactorTime | None:
    """The clock of ``agent``, or of the one that it is around."""
    for layer in _layers(agent):
        clock = getattr(layer, "clock", None)
        if IReactorTime.providedBy(clock):
            return clock
    return None


def takes_limits(agent: Any) -> bool:
    """Whether ``request`` of ``agent`` may be given ``limits``: it is ours, and so is all that it is around."""
    return getattr(agent, "takes_limits", False) is True
