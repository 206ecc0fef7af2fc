"""The table of phases is total, and has one way out."""

from __future__ import annotations

import itertools

import pytest

from hardhttp.net.phase import MOVES, Event, Phase


def test_there_is_a_move_for_every_phase_and_event() -> None:
    assert len(MOVES) == len(Phase)
    for phase, event in itertools.product(Phase, Event):
        assert MOVES[phase][event] in Phase
    assert all(len(row) == len(Event) for row in MOVES)


@pytest.mark.parametrize("phase", Phase)
def test_from_every_phase_there_is_a_way_out(phase: Phase) -> None:
    assert MOVES[phase][Event.LOST] is Phase.CLOSED
    assert MOVES[phase][Event.CLOSE] is (Phase.CLOSED if phase is Phase.CLOSED else Phase.CLOSING)


@pytest.mark.parametrize("phase", [Phase.LINGERING, Phase.CLOSING, Phase.CLOSED])
@pytest.mark.parametrize("event", Event)
def test_nothing_comes_back_from_an_end(phase: Phase, event: Event) -> None:
    assert MOVES[phase][event] >= phase


@pytest.mark.parametrize("event", [Event.PART, Event.EXPECT_BODY, Event.CALL])
def test_a_request_begins_only_where_none_is(event: Event) -> None:
    """Or where its own body has just ended."""
    for phase in Phase:
        if MOVES[phase][event] is not phase:
            assert phase in (Phase.IDLE, Phase.HEAD) or (phase, event) == (Phase.BODY, Event.CALL)
