"""The ledger: what is held, by kind and owner."""

from __future__ import annotations

import random

from hardhttp.net.ledger import BODY, EVENTS, FILES, INPUT, MESSAGES, SUBSCRIBERS, UNSENT, WEBSOCKETS, Ledger

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
