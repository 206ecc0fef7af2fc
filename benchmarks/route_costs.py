"""What finding a route costs, by the number of routes there are.

No server and no load: the search alone, timed where it runs.
"""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter

from hardhttp.web.routing import Router

__all__ = ["search_microseconds"]

SEARCHES = 20_000
ROUNDS = 5


def search_microseconds(counts: Iterable[int] = (10, 100, 1000)) -> dict[int, float]:
    """Microseconds to find one route with one parameter, by the number of routes; the best of some rounds."""
    return {count: _one(count) for count in counts}


def _one(count: int) -> float:
    router = Router()
    for number in range(count):
        router.get(f"/part{number}/items/{{id:int}}")(lambda request, id: None)
    segments = [b"part%d" % (count // 2), b"items", b"12345"]
    find = router._tree.find
    best = float("inf")
    for _ in range(ROUNDS):
        begun = perf_counter()
        for _ in range(SEARCHES):
            find(b"GET", segments)
        best = min(best, perf_counter() - begun)
    return best / SEARCHES * 1e6
