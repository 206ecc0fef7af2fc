"""Failing what waits, so that nothing of it waits for the collector.

A coroutine that waits for a Deferred runs within its ``errback``, and the exception that is raised there gets a
traceback. From Python 3.12 on that leads to every frame that was running, and some of them hold the exception: a
circle for each failure. So whoever fails a Deferred, or tells a protocol of an end, drops the traceback afterwards.
What reads it does so meanwhile; a ``Failure`` made of it keeps one of its own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

__all__ = ["fail", "forget_frames"]


def fail(waiting: Deferred[Any], error: BaseException | Failure) -> None:
    """``waiting.errback(error)``, and nothing is left of the stack it was called from."""
    failure = error if isinstance(error, Failure) else Failure(error)
    waiting.errback(failure)
    forget_frames(failure)


def forget_frames(failure: Failure) -> None:
    """Everybody has been told of ``failure``."""
    value = failure.value
    if value is not None:
        value.__traceback__ = None
