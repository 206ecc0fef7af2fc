"""Who an event is for is remembered, within a bound on what that takes."""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.sse import audiences
from hardhttp.sse.audiences import BARE_PLACES, Audiences
from hardhttp.sse.queue import Policy
from tests.sse.subscribing import Hub, data_of


def test_what_is_remembered_is_bounded_by_members_and_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    each = BARE_PLACES + 3 + 10
    monkeypatch.setattr(audiences, "MAX_PLACES", 2 * each)
    kept = Audiences()
    crowd: Any = frozenset(range(3))
    for name in ("a" * 10, "b" * 10):
        kept.keep((name,), False, (crowd, Policy.CLOSE))
    assert (len(kept), kept.places) == (2, 2 * each)
    assert kept.find(("a" * 10,), False) == (crowd, Policy.CLOSE)
    assert kept.find(("a" * 10,), True) is None
    kept.keep(("c",), False, (frozenset(), Policy.CLOSE))  # one more is one too many
    assert (len(kept), kept.places) == (1, BARE_PLACES + 1)
    kept.keep(("d" * 1000,), False, (crowd, Policy.CLOSE))  # alone
    assert (len(kept), kept.find(("d" * 1000,), False)) == (1, (crowd, Policy.CLOSE))
    kept.clear()
    assert (len(kept), kept.places) == (0, 0)


def test_many_topics_with_many_subscribers_each_take_no_more_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audiences, "MAX_PLACES", 500)
    with Hub() as hub:
        peers = [hub.subscribe("topic=/books/{id}") for _ in range(20)]
        for number in range(100):
            hub.hub.publish(f"/books/{number}", number)
            assert hub.hub._audiences.places <= 500
        assert all(data_of(peer) == [str(number) for number in range(100)] for peer in peers)
        for peer in peers:
            peer.reset()
