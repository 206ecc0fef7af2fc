"""How long to wait before the next try: exponential, bounded, never the same for all.

Those who lost one server together would come back together. So each waits a random time; what a server has asked for
is the least of it.
"""

from __future__ import annotations

from random import Random

__all__ = ["full_jitter", "reconnect_seconds"]

# Doubling goes on no longer: the bound has long been reached, and a float stays one.
_MAX_DOUBLINGS = 32


def full_jitter(random: Random, base_seconds: float, max_seconds: float, failures: int) -> float:
    """From 0 to ``base_seconds`` doubled ``failures`` times, ``max_seconds`` at most."""
    return random.uniform(0.0, _doubled(base_seconds, max_seconds, failures))


def reconnect_seconds(random: Random, base_seconds: float, max_seconds: float, failures: int) -> float:
    """From ``base_seconds`` to half as much again, the upper end doubled ``failures`` times.

    Both ends are bounded: the lower by ``max_seconds``, the upper by one and a half times that.
    """
    low = min(base_seconds, max_seconds)
    return random.uniform(low, 1.5 * _doubled(low, max_seconds, failures))


def _doubled(base_seconds: float, max_seconds: float, failures: int) -> float:
    return min(max_seconds, base_seconds * 2.0 ** min(failures, _MAX_DOUBLINGS))
