"""The phases of a client's connection, and every way from one to another.

    HANDSHAKE -> IDLE -> AWAITING -> BODY -> IDLE ...      one request after another
    IDLE -> STREAMS -> IDLE ...                             the same in HTTP/2
    any       -> CLOSING -> CLOSED                          one way out

HANDSHAKE  TLS is being agreed to; a request may wait for it
IDLE       no request: any byte that comes now is one too many, and closes it
AWAITING   a request is being sent, or has been; the final head is not whole
BODY       the head is given, the body is coming
UPGRADED   another protocol has the connection (101)
STREAMS    HTTP/2: there is a stream, or there are many
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
    STREAMS = 5
    CLOSING = 6
    CLOSED = 7


class Event(IntEnum):
    SECURED = 0  # the handshake has ended well
    REQUEST = 1  # a request begins
    HEAD = 2  # the final head has come, and more body than came with it
    END = 3  # the response is whole, and the connection may serve again
    UPGRADE = 4
    STREAM = 5  # one more, in HTTP/2
    CLOSE = 6
    LOST = 7


_H, _I, _A, _B, _U, _S, _C, _X = Phase

# A row a phase, a column an event, in their order.
MOVES: tuple[tuple[Phase, ...], ...] = (
    # SECURED REQUEST HEAD END UPGRADE STREAM CLOSE LOST
    (_I, _H, _H, _H, _H, _H, _C, _X),  # HANDSHAKE
    (_I, _A, _I, _I, _I, _S, _C, _X),  # IDLE
    (_A, _A, _B, _I, _U, _A, _C, _X),  # AWAITING
    (_B, _B, _B, _I, _B, _B, _C, _X),  # BODY
    (_U, _U, _U, _U, _U, _U, _C, _X),  # UPGRADED
    (_S, _S, _S, _I, _S, _S, _C, _X),  # STREAMS
    (_C, _C, _C, _C, _C, _C, _C, _X),  # CLOSING
    (_X, _X, _X, _X, _X, _X, _X, _X),  # CLOSED
)
