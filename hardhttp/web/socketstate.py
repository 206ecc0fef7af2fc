"""The states of a WebSocket, and every way from one to another.

    OPEN -> CLOSING -> ENDING -> ENDED         we say Close first, and the client answers
    OPEN -> ENDING -> ENDED                    the client says it, or breaks a rule
    OPEN -> ASKED -> ENDING -> ENDED           the client says it while its messages wait
    any  -> ENDED                              the connection is lost

OPEN       messages go both ways
ASKED      the client has said Close; the application is still taking what came before
CLOSING    we have said Close, and wait for the client's
ENDING     all is said, and the connection was told to end
ENDED      nothing is left

The table is total: a move that has no place in a state leaves it where it is.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

__all__ = ["ASKED", "CLOSING", "ENDED", "ENDING", "MOVES", "OPEN", "Ended", "Move", "State", "WebSocketClosed"]


class Ended(StrEnum):
    """Why a WebSocket ended."""

    CLIENT = "client"  # it said Close
    CLOSED = "closed"  # the application closed it, or its handler returned
    LOST = "lost"  # the connection ended without a Close
    PROTOCOL = "protocol"  # the client sent what may not be
    BAD_DATA = "bad-data"  # its text was no UTF-8, or its compression was broken
    TOO_BIG = "too-big"  # a message was longer than it may be
    OVERFLOW = "overflow"  # the client did not take what was sent
    PONG_SECONDS = "pong-seconds"  # it did not answer a ping
    FAILED = "failed"  # the application raised
    DRAINED = "drained"  # the server stopped


class WebSocketClosed(Exception):
    """The socket is closed: nothing can be sent or received on it."""


class State(IntEnum):
    OPEN = 0
    ASKED = 1
    CLOSING = 2
    ENDING = 3
    ENDED = 4


class Move(IntEnum):
    ASK = 0  # the client says Close while its messages wait
    CLOSE = 1  # we say Close first
    END = 2  # both have said it, or the client broke the rules
    LOSE = 3  # the connection is lost


OPEN, ASKED, CLOSING, ENDING, ENDED = State

# A row a state, a column a move, in their order.
MOVES: tuple[tuple[State, ...], ...] = (
    # ASK CLOSE END LOSE
    (ASKED, CLOSING, ENDING, ENDED),  # OPEN
    (ASKED, ENDING, ENDING, ENDED),  # ASKED
    (CLOSING, CLOSING, ENDING, ENDED),  # CLOSING
    (ENDING, ENDING, ENDING, ENDED),  # ENDING
    (ENDED, ENDED, ENDED, ENDED),  # ENDED
)
