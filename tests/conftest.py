"""What holds for every test.

Tests run on the real reactor (pytest-twisted keeps it turning in a greenlet of its own), also
those that drive a ``twisted.internet.task.Clock`` by hand. So a test that forgets a timer is felt
by the next one; the check below names the one that forgot it.

pytest-twisted replaces ``Failure.cleanFailure`` by nothing, to keep tracebacks whole. A test about
what the garbage collector finds therefore runs its subject in a process of its own.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator

import pytest
import pytest_twisted
from hypothesis import settings
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater

# A hundred tests start Python, and pytest rewrites a hundred files: a quarter of all the time, unless what was
# compiled may be kept, whatever the environment says.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

# How long a call that is due at once, or the end of a thread's work, may take to go away.
GRACE_SECONDS = 0.25
TURN_SECONDS = 0.01

# Two busy cores make single examples slow; a hang is caught by faulthandler_timeout.
# Always the same examples, so that a test fails for what was changed; "random" looks for new ones.
settings.register_profile("default", deadline=None, derandomize=True, max_examples=25)
settings.register_profile("long", deadline=None, derandomize=True, max_examples=200)
settings.register_profile("random", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """Quick tests wait for sockets and processes nearly half of their time: three for two cores."""
    return (os.cpu_count() or 1) * 3 // 2 if "not slow" in (config.option.markexpr or "") else None


def pytest_collection_finish() -> None:
    """What ten thousand tests are made of is looked through no more: many ask the collector what is left of theirs."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_call_left_behind() -> Iterator[None]:
    """After a test, nothing it scheduled is pending on the global reactor."""
    from twisted.internet import reactor

    before = set(reactor.getDelayedCalls())

    def left() -> list[IDelayedCall]:
        return [call for call in reactor.getDelayedCalls() if call not in before]

    yield
    for _ in range(int(GRACE_SECONDS / TURN_SECONDS)):
        if not left():
            return
        pytest_twisted.blockon(deferLater(reactor, TURN_SECONDS))
    forgotten = left()
    said = "; ".join(map(str, forgotten))
    for call in forgotten:
        call.cancel()  # so that the next test is not blamed
    if forgotten:
        pytest.fail(f"still pending on the reactor: {said}", pytrace=False)
