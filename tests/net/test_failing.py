"""What is left of a failure once everybody has been told."""

from __future__ import annotations

import pytest
from twisted.internet.defer import Deferred, ensureDeferred
from twisted.python.failure import Failure

from hardhttp.net.failing import fail


@pytest.mark.parametrize("as_failure", [False, True])
def test_a_coroutine_that_is_told_leaves_no_traceback(as_failure: bool) -> None:
    told: list[bool] = []

    async def waits(waiting: Deferred[None]) -> None:
        try:
            await waiting
        except LookupError as error:
            told.append(error.__traceback__ is not None)

    waiting: Deferred[None] = Deferred()
    done = ensureDeferred(waits(waiting))
    error = LookupError("nothing came")
    fail(waiting, Failure(error) if as_failure else error)
    assert told == [True]  # it could be read meanwhile
    assert done.called
    assert error.__traceback__ is None
