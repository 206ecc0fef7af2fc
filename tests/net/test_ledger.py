"""The ledger: what is held, by kind and owner."""

from __future__ import annotations

import random

import pytest

from hardhttp.net.ledger import (
    BODY,
    EVENTS,
    FILES,
    INPUT,
    MESSAGES,
    SHARED_BYTES,
    SUBSCRIBERS,
    UNSENT,
    WEBSOCKETS,
    Ledger,
)

EMPTY = {INPUT: 0, BODY: 0, UNSENT: 0, EVENTS: 0, MESSAGES: 0, SUBSCRIBERS: 0, WEBSOCKETS: 0, FILES: 0, "owners": 0}


def test_an_amount_is_set_and_not_added_to() -> None:
    ledger = Ledger()
    ledger.hold("a", INPUT, 10)
    ledger.hold("a", INPUT, 10)
    ledger.hold("a", INPUT, 7)
    ledger.hold("b", INPUT, 1)
    assert ledger.snapshot() == {**EMPTY, INPUT: 8, "owners": 2}
    assert ledger.held("a") == {INPUT: 7}
    assert ledger.held_bytes == 8


def test_nothing_held_is_no_entry() -> None:
    ledger = Ledger()
    ledger.hold("a", INPUT, 0)
    assert ledger.snapshot() == EMPTY
    ledger.hold("a", INPUT, 5)
    ledger.hold("a", BODY, 5)
    ledger.hold("a", INPUT, 0)
    assert ledger.held("a") == {BODY: 5}
    ledger.hold("a", BODY, 0)
    assert ledger.snapshot() == EMPTY


def test_an_owner_gives_back_all_it_held_and_nothing_twice() -> None:
    ledger = Ledger()
    for kind in (INPUT, BODY, UNSENT, "pool_slots"):
        ledger.hold("a", kind, 3)
        ledger.hold("b", kind, 4)
    ledger.release("a")
    ledger.release("a")
    ledger.release("never seen")
    assert ledger.snapshot() == {**EMPTY, INPUT: 4, BODY: 4, UNSENT: 4, "pool_slots": 4, "owners": 1}
    assert ledger.held_bytes == 12


def test_only_bytes_are_memory() -> None:
    ledger = Ledger()
    ledger.hold("a", "pool_slots", 1000)
    ledger.hold("b", INPUT, 1)
    assert ledger.held_bytes == 1
    assert ledger.heaviest() == "b"


def test_the_heaviest_holds_most_bytes_of_all_kinds_together() -> None:
    ledger = Ledger()
    assert ledger.heaviest() is None
    ledger.hold("a", INPUT, 6)
    ledger.hold("b", BODY, 5)
    assert ledger.heaviest() == "a"
    ledger.hold("b", UNSENT, 2)
    assert ledger.heaviest() == "b"


def test_a_gauge_is_asked() -> None:
    ledger = Ledger()
    figures = [3]
    ledger.gauge("connections", lambda: figures[0])
    assert ledger.snapshot()["connections"] == 3
    figures[0] = 0
    assert ledger.snapshot() == {**EMPTY, "connections": 0}


def test_a_long_piece_is_counted_once_and_passes_to_the_next_who_holds_it() -> None:
    ledger, page = Ledger(), bytes(SHARED_BYTES)
    for owner in "abc":
        ledger.hold_unsent(owner, 10, page)
        ledger.hold_unsent(owner, 10, page)  # said again, it is held once
    assert ledger.snapshot() == {**EMPTY, UNSENT: SHARED_BYTES + 30, "owners": 3}
    ledger.hold("a", INPUT, 5)  # another kind has nothing to do with it
    ledger.release("a")
    assert ledger.held("b") == {UNSENT: SHARED_BYTES + 10}
    ledger.hold_unsent("c", 7)
    ledger.hold_unsent("c", 7, b"another")
    assert ledger.held_bytes == SHARED_BYTES + 10 + 7 + 7
    ledger.hold_unsent("b", 0)
    ledger.release("c")
    assert ledger.snapshot() == EMPTY
    assert not ledger._pieces
    assert not ledger._piece_of


@pytest.mark.parametrize(("size", "held"), [(SHARED_BYTES - 1, 2 * SHARED_BYTES - 2), (SHARED_BYTES, SHARED_BYTES)])
def test_a_short_piece_is_everybodys_own(size: int, held: int) -> None:
    ledger, piece = Ledger(), bytes(size)
    ledger.hold_unsent("a", 0, piece)
    ledger.hold_unsent("b", 0, piece)
    assert ledger.held_bytes == held


def test_equal_bytes_that_are_not_the_same_are_counted_each() -> None:
    ledger = Ledger()
    for owner in "ab":
        ledger.hold_unsent(owner, 0, bytes(SHARED_BYTES))
    assert ledger.held_bytes == 2 * SHARED_BYTES


def test_who_takes_up_another_piece_leaves_the_first_to_those_who_hold_it() -> None:
    ledger, one, other = Ledger(), bytes(SHARED_BYTES), bytes(SHARED_BYTES + 1)
    ledger.hold_unsent("a", 0, one)
    ledger.hold_unsent("b", 0, one)
    ledger.hold_unsent("a", 0, other)
    assert (ledger.held("a"), ledger.held("b")) == ({UNSENT: SHARED_BYTES + 1}, {UNSENT: SHARED_BYTES})


def test_it_never_drifts() -> None:
    """Against the plainest model there is."""
    ledger, model = Ledger(), {}
    rng = random.Random(1)
    for _ in range(20_000):
        owner, kind = rng.randrange(20), rng.choice((INPUT, BODY, UNSENT))
        if rng.random() < 0.1:
            ledger.release(owner)
            model = {key: n for key, n in model.items() if key[0] != owner}
        else:
            model[owner, kind] = rng.randrange(5)
            ledger.hold(owner, kind, model[owner, kind])
    assert ledger.held_bytes == sum(model.values())
    assert ledger.snapshot() == {
        **EMPTY,
        **{kind: sum(n for (_, k), n in model.items() if k == kind) for kind in (INPUT, BODY, UNSENT)},
        "owners": len({owner for (owner, _), n in model.items() if n}),
    }
    for owner in range(20):
        ledger.release(owner)
    assert ledger.snapshot() == EMPTY
