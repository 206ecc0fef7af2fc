"""What hardhttp has to reach, as ratios to its peers, everything switched on.

A row that is not reached is reported as missed; nothing here is adjusted to what was measured.
"""

from __future__ import annotations

__all__ = ["AT_LEAST", "AT_MOST", "verdict"]

# Row, peer: at least so many times the peer's requests a second.
AT_LEAST: dict[tuple[str, str], float] = {
    ("hello-browser", "uvicorn"): 1.25,
    ("hello-browser", "node"): 1.0,
    ("hello-browser", "twisted.web"): 4.0,
    ("hello-browser", "nginx"): 0.5,
    ("tree", "twisted.web"): 3.0,
    ("tree-read", "twisted.web"): 3.0,
    ("tls", "uvicorn"): 1.0,
    ("post", "uvicorn"): 1.0,
    ("h2", "hypercorn"): 2.0,
    ("h2-browser", "hypercorn"): 2.0,
    ("json", "starlette"): 1.5,
    ("json", "klein"): 5.0,
    ("session", "without"): 0.7,
    ("watched", "unwatched"): 0.95,
    ("watched-bare", "unwatched"): 0.95,
    ("static-1k", "nginx"): 0.3,
    ("static-10m", "nginx"): 0.7,
    # Two workers on two cores.
    ("work-10", "one-worker"): 1.6,
    # Deliveries a second.
    ("sse-8000", "nchan"): 1.2,
    ("sse-8000", "starlette"): 4.0,
}

# What may not be exceeded by hardhttp itself.
AT_MOST: dict[str, float] = {
    # The cost of a request at the largest number of connections over that at the smallest.
    "connections": 1.3,
    # The p99 of honest clients under attack over that without.
    "attack": 2.0,
    # Bytes for each idle connection.
    "idle-connection": 3 * 1024,
    # Bytes for each request, where the slope is not within its own noise of zero: a quarter of a
    # MiB in a million, which is what the allocator takes from the system at one time. The smallest
    # object leaked with each request would be sixty times as much.
    "requests": 0.25,
    # Milliseconds: the longest hold of the reactor, and the p99 of a page while events go out as fast as they can.
    "sse-8000-hold": 5.0,
    "sse-8000-page": 20.0,
    # For each subscriber.
    "sse-8000-bytes": 4 * 1024,
}


def verdict(row: str, peer: str, ratio: float) -> str | None:
    """``met`` or ``missed`` with the bound, or ``None`` where none is set."""
    bound = AT_LEAST.get((row, peer))
    if bound is None:
        return None
    return f">= {bound:g} {'met' if ratio >= bound else 'MISSED'}"
