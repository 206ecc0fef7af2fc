"""Clients that send as little as keeps a careless server waiting.

Most servers restart a timer with every byte, so a byte now and then holds a connection for hours.
A sound one gives each phase a time of its own that a trickle cannot move.
"""

from __future__ import annotations

from hardhttp.soak.load import Load
from hardhttp.soak.scenario import Expectation, Scenario

__all__ = ["DripBody", "DripChunks", "DripHead", "Idle", "Silent", "Zombie"]

DRIP_SECONDS = 0.5
# More bytes than any run drips.
ENDLESS = 1_000_000


class DripHead(Scenario):
    """A request's head comes a byte at a time and never ends. A sound server answers 408 after its
    own time for a head, whatever came meanwhile, and closes.
    """

    name = "drip-head"
    rows = ("E02", "ten: head drip")
    expectation = Expectation(held_seconds=90, answers=frozenset({"408", "closed", "reset"}))
    answered_by = ("head_seconds",)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head()[:-2] + b"X-Drip: ")
        await connection.drip(b"x" * ENDLESS, DRIP_SECONDS)
        load.count(await connection.end())


class DripBody(Scenario):
    """A body of known length comes a byte at a time. A sound server asks a minimum rate of it, answers 408
    and closes; it does not wait for ten thousand seconds.
    """

    name = "drip-body"
    rows = ("E02", "ten: body drip")
    needs = frozenset({"upload"})
    expectation = Expectation(held_seconds=130, answers=frozenset({"408", "closed", "reset"}))
    answered_by = ("body_seconds", "body_bytes_per_second")

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head(load.where.paths["upload"], method="POST", length=10_000))
        await connection.drip(b"x" * 9_999, DRIP_SECONDS)
        load.count(await connection.end())


class DripChunks(Scenario):
    """A body comes in chunks of one byte, without end. A sound server counts what they hold, not how
    often they come: 408 as for any body that is too slow.
    """

    name = "drip-chunks"
    rows = ("E02", "V13", "ten: body drip")
    needs = frozenset({"upload"})
    expectation = Expectation(held_seconds=130, answers=frozenset({"408", "closed", "reset"}))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head(load.where.paths["upload"], "Transfer-Encoding: chunked", method="POST"))
        received = connection.received_bytes
        while connection.received_bytes == received and connection.ended is None:
            connection.send(b"1\r\nx\r\n")
            await load.sleep(DRIP_SECONDS)
        load.count(await connection.end())


class Silent(Scenario):
    """A connection on which nothing is ever said. A sound server closes it when the time for a head is over."""

    name = "silent"
    rows = ("V02", "E02")
    connections = 100
    expectation = Expectation(held_seconds=90)
    answered_by = ("head_seconds",)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        load.count(await connection.end())


class Idle(Scenario):
    """One request, then nothing, on a connection that may be kept. A sound server keeps it for its own
    time, so that an honest browser finds it open, and then closes it.
    """

    name = "idle"
    rows = ("V02",)
    connections = 100
    expectation = Expectation(held_seconds=400)
    answered_by = ("idle_seconds",)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get()
        await connection.answer()
        await connection.end()
        load.count("closed when idle")


class Zombie(Scenario):
    """Half a request, then silence, as of a machine that lost its network: no FIN and no RST will come. A
    sound server does not wait for them.
    """

    name = "zombie"
    rows = ("V02", "E02")
    connections = 100
    expectation = Expectation(held_seconds=130)
    answered_by = ("head_seconds",)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        head = connection.head()
        connection.send(head[: len(head) // 2])
        load.count(await connection.end())
