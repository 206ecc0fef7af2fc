"""The table is total, and every phase is reached and left."""

from __future__ import annotations

from hardhttp.client.phase import MOVES, Event, Phase


def test_total() -> None:
    assert len(MOVES) == len(Phase)
    assert all(len(row) == len(Event) for row in MOVES)


def test_every_phase_can_end_and_none_begins_again() -> None:
    for phase in Phase:
        assert MOVES[phase][Event.LOST] is Phase.CLOSED
        if phase is not Phase.CLOSED:
            assert MOVES[phase][Event.CLOSE] is Phase.CLOSING
    for event in Event:
        assert MOVES[Phase.CLOSED][event] is Phase.CLOSED
        assert MOVES[Phase.CLOSING][event] in (Phase.CLOSING, Phase.CLOSED)


def test_the_way_of_a_request() -> None:
    phase, way = Phase.HANDSHAKE, []
    for event in (Event.SECURED, Event.REQUEST, Event.HEAD, Event.END, Event.REQUEST, Event.END):
        phase = MOVES[phase][event]
        way.append(phase)
    assert way == [Phase.IDLE, Phase.AWAITING, Phase.BODY, Phase.IDLE, Phase.AWAITING, Phase.IDLE]
