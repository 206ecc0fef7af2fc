"""What a worker process can be, what can happen to it, and what is done then: a table.

::

    STARTING --ready--> READY --retire--> RETIRING --exited--> GONE
       | late             | silent           | late, silent
       +------------------+------------------+--> KILLED --exited--> GONE

Every worker is in one state, and every event has an answer in every state: most that come too late change nothing.
A process that ends by itself is GONE from wherever it was. Nothing here knows of processes or of time.
"""

from __future__ import annotations

from enum import Enum

__all__ = ["ALIVE", "STANDING", "TABLE", "Act", "Event", "State"]


class State(Enum):
    """``STARTING`` until it says that it serves; ``RETIRING`` while it drains; ``KILLED`` until it is seen to end."""

    STARTING = "starting"
    READY = "ready"
    RETIRING = "retiring"
    KILLED = "killed"
    GONE = "gone"


class Event(Enum):
    """``LATE``: the deadline of its state has passed. ``SILENT``: its reactor does not answer."""

    SAID_READY = "said ready"
    RETIRE = "retire"
    LATE = "late"
    SILENT = "silent"
    EXITED = "exited"


class Act(Enum):
    """``TERMINATE`` lets it drain; ``ABORT`` has it say where it is held, and end; ``KILL`` asks nothing."""

    NOTHING = "nothing"
    TERMINATE = "terminate"
    ABORT = "abort"
    KILL = "kill"


# Those that serve or are about to; and those that there is a process of.
STANDING = frozenset({State.STARTING, State.READY})
ALIVE = frozenset(State) - {State.GONE}

_TURNS: dict[tuple[State, Event], tuple[State, Act]] = {
    (State.STARTING, Event.SAID_READY): (State.READY, Act.NOTHING),
    (State.STARTING, Event.RETIRE): (State.RETIRING, Act.TERMINATE),
    (State.STARTING, Event.LATE): (State.KILLED, Act.ABORT),
    (State.READY, Event.RETIRE): (State.RETIRING, Act.TERMINATE),
    (State.READY, Event.SILENT): (State.KILLED, Act.ABORT),
    (State.RETIRING, Event.LATE): (State.KILLED, Act.KILL),
    (State.RETIRING, Event.SILENT): (State.KILLED, Act.ABORT),
    (State.KILLED, Event.LATE): (State.KILLED, Act.KILL),
    **{(state, Event.EXITED): (State.GONE, Act.NOTHING) for state in State},
}
TABLE = {(state, event): _TURNS.get((state, event), (state, Act.NOTHING)) for state in State for event in Event}
