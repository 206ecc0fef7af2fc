"""The phases of a client's HTTP/1.1 connection, and every way from one to another.

    HANDSHAKE -> IDLE -> AWAITING -> BODY -> IDLE ...      one request after another
    any       -> CLOSING -> CLOSED                          one way out

HANDSHAKE  TLS is being agreed to; a request may wait for it
IDLE       no request: any byte that comes now is one too many, and closes it
AWAITING   a request is being sent, or has been; the final head is not whole
BODY       the head is given, the body is coming
UPGRADED   another protocol has the connection (101)
CLOSING    the transport has been asked to close; what still comes is discarded
CLOSED     nothing is left

The table is total: an event that has no place in a phase leaves it where it is, and the table says
so, by naming the phase itself.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["MOVES", "Event", "Phase"]


class Phase(IntEnum):
    HANDSHAKE = 0
    IDLE = 1
    AWAITING = 2
    BODY = 3
    UPGRADED = 4
    CLOSING = 5
    CLOSED = 6


class Event(IntEnum):
    SECURED = 0  # the handshake has ended well
    REQUEST = 1  # a request begins
    HEAD = 2  # the final head has come, and more body than came with it
    END = 3  # the response is whole, and the connection may serve again
    UPGRADE = 4
    CLOSE = 5
    LOST = 6


_H, _I, _A, _B, _U, _C, _X = Phase

# A row a phase, a column an event, in their order.
MOVES: tuple[tuple[Phase, ...], ...] = (
    # SECURED REQUEST HEAD END UPGRADE CLOSE LOST
    (_I, _H, _H, _H, _H, _C, _X),  # HANDSHAKE
    (_I, _A, _I, _I, _I, _C, _X),  # IDLE
    (_A, _A, _B, _I, _U, _C, _X),  # AWAITING
    (_B, _B, _B, _I, _B, _C, _X),  # BODY
    (_U, _U, _U, _U, _U, _C, _X),  # UPGRADED
    (_C, _C, _C, _C, _C, _C, _X),  # CLOSING
    (_X, _X, _X, _X, _X, _X, _X),  # CLOSED
)
