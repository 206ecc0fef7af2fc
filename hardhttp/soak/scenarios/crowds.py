"""Many connections: all at once, or one after the other as fast as can be."""

from __future__ import annotations

import contextlib
import itertools
import os
import resource

from hardhttp.soak.load import Load
from hardhttp.soak.scenario import ALLOCATOR_BYTES, MIB, Expectation, Scenario

__all__ = ["Churn", "Crowd", "Descriptors", "OwnAnswers", "Ranges"]


class Crowd(Scenario):
    """Four hundred connections at once, each asking now and then. A sound server serves them, or refuses those beyond
    its cap with an answer, and gives back what they took.
    """

    name = "crowd"
    rows = ("V07", "E08", "V17", "ten: connection cap")
    connections = 400
    per_second = 400.0
    expectation = Expectation(answers=frozenset({"200", "503", "429", "closed", "reset", "held"}))
    answered_by = ("max_connections", "max_connections_per_address")

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        while True:
            connection.get()
            load.count((await connection.answer()).outcome)
            await load.sleep(2)


class Churn(Scenario):
    """A new connection for each request, three hundred a second, and some close first and some do not. A sound server
    gives each back, and it is the same size after ten thousand.
    """

    name = "churn"
    rows = ("V01", "V17", "E04")
    connections = 20
    per_second = 300.0
    expectation = Expectation(answers=frozenset({"200"}))

    def __init__(self) -> None:
        self._ways = itertools.cycle(("close", "reset", "Connection: close"))

    async def client(self, load: Load) -> None:
        way = next(self._ways)
        connection = await load.connect()
        connection.get(None, *([way] if ":" in way else []))
        load.count((await connection.answer()).outcome)
        if way == "close":
            connection.close()
        else:
            connection.reset()


class OwnAnswers(Scenario):
    """Each client asks for the page that is there and for one that is not, in pieces and in an order of its own, among
    others that do the same. A sound server gives each its own answer.
    """

    name = "own-answers"
    rows = ("V01", "V06")
    connections = 30
    per_second = 100.0
    expectation = Expectation(answers=frozenset({"own"}))

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def client(self, load: Load) -> None:
        number = next(self._numbers)
        connection = await load.connect()
        expected: dict[bool, int] = {}
        for turn in range(20):
            there = (number >> (turn % 5)) & 1 == 1
            request = connection.head() if there else connection.head("/no-such-page-of-ours")
            connection.send(request[:9])
            await load.sleep(0.01)
            connection.send(request[9:])
            answer = await connection.answer()
            status = expected.setdefault(there, answer.status)
            load.count("own" if status == answer.status else "another's")
            if answer.header(b"connection") == b"close":
                break
        connection.reset()


class Ranges(Scenario):
    """A thousand overlapping ranges of a large file in one request. A sound server sends a page's worth, the file
    once, or 416: never a thousand times the file.
    """

    name = "ranges"
    rows = ("V17",)
    needs = frozenset({"large"})
    connections = 4
    per_second = 4.0
    expectation = Expectation(
        held_bytes=400 * MIB,
        left_bytes=ALLOCATOR_BYTES,
        answers=frozenset({"once", "206", "400", "416", "431", "closed", "held"}),
    )

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        ranges = ",".join(f"{start}-" for start in range(1000))
        connection.get(load.where.paths["large"], f"Range: bytes={ranges}")
        # As much as one large page, and some; then it is known.
        while not connection.answered and connection.received_bytes < 128 * MIB:
            await connection.more()
        if not connection.answered:
            load.count("many times the file")
        else:
            answer = await connection.answer()
            load.count("once" if answer.status == 200 else answer.outcome)
        connection.reset()


class Descriptors(Scenario):
    """The server's process is left sixty descriptors, and two hundred clients come. A sound one goes on serving those
    it has, stays quiet, and accepts again by itself when the limit is lifted, or clients go.
    """

    name = "descriptors"
    rows = ("E01", "ten: descriptor limit")
    reaches = "pid"
    connections = 200
    per_second = 200.0
    spare = 60
    # New connections of honest clients are refused meanwhile, by every server there is.
    expectation = Expectation(honest_failures=0.5, honest_p99_ms=3000.0)

    async def run(self, load: Load) -> None:
        if load.pid is None:
            return
        try:
            held = len(os.listdir(f"/proc/{load.pid}/fd"))
            before = resource.prlimit(load.pid, resource.RLIMIT_NOFILE)
            resource.prlimit(load.pid, resource.RLIMIT_NOFILE, (held + self.spare, before[1]))
        except OSError:
            load.count("its limit may not be lowered")  # another user's process
            return
        try:
            await super().run(load)
        finally:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(load.pid, resource.RLIMIT_NOFILE, before)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get()
        load.count((await connection.answer()).outcome)
        await connection.end()
