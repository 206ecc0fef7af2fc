"""The phases of an HTTP/1.1 connection, and every way from one to another.

    IDLE -> HEAD -> BODY -> DISPATCH -> HANDLING -> IDLE ...       one request after another
    any  -> LINGERING | CLOSING -> CLOSED                          one way out

IDLE       no byte of the next request has come
HEAD       part of a head has come, or the first one is awaited
BODY       the head is whole, the body is not; a streaming resource may be answering already
DISPATCH   the application has been called and has not returned
HANDLING   the application will answer later; what is pipelined behind waits
UPGRADED   another protocol has the connection
LINGERING  our last byte is said, the client's are discarded until it hangs up (RFC 9112, 9.6)
CLOSING    the transport has been asked to close once all is sent
CLOSED     nothing is left

The table is total: an event that has no place in a phase leaves it where it is, and the table says
so, by naming the phase itself.
"""

from __future__ import annotations

from enum import IntEnum

__all__ = ["MOVES", "Event", "Phase"]


class Phase(IntEnum):
    IDLE = 0
    HEAD = 1
    BODY = 2
    DISPATCH = 3
    HANDLING = 4
    UPGRADED = 5
    LINGERING = 6
    CLOSING = 7
    CLOSED = 8


class Event(IntEnum):
    PART = 0  # part of a head has come
    EXPECT_BODY = 1  # a head has come, and a body will
    CALL = 2  # the application is called
    LATER = 3  # it returned without an answer, or the streamed body has ended
    DONE = 4  # the response has ended
    UPGRADE = 5
    LINGER = 6
    CLOSE = 7
    LOST = 8


_I, _H, _B, _D, _A, _U, _L, _C, _X = Phase

# A row a phase, a column an event, in their order.
MOVES: tuple[tuple[Phase, ...], ...] = (
    #     PART  EXPECT CALL LATER DONE UPGRADE LINGER CLOSE LOST
    (_H, _B, _D, _I, _I, _I, _L, _C, _X),  # IDLE
    (_H, _B, _D, _H, _H, _H, _L, _C, _X),  # HEAD
    (_B, _B, _D, _A, _L, _U, _L, _C, _X),  # BODY
    (_D, _D, _D, _A, _I, _U, _L, _C, _X),  # DISPATCH
    (_A, _A, _A, _A, _I, _U, _L, _C, _X),  # HANDLING
    (_U, _U, _U, _U, _U, _U, _L, _C, _X),  # UPGRADED
    (_L, _L, _L, _L, _L, _L, _L, _C, _X),  # LINGERING
    (_C, _C, _C, _C, _C, _C, _C, _C, _X),  # CLOSING
    (_X, _X, _X, _X, _X, _X, _X, _X, _X),  # CLOSED
)
