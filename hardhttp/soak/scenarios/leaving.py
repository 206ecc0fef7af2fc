"""Clients that go without a word, by RST, at every moment of a request.

Each goes many times a second, so that what one leaves behind is soon seen: a connection that stays
in a list, a handler that waits for ever, a buffer that nobody will send.
"""

from __future__ import annotations

from hardhttp.soak.connection import Connection
from hardhttp.soak.load import Load
from hardhttp.soak.scenario import ALLOCATOR_BYTES, Expectation, Scenario

__all__ = ["HalfClose", "VanishAtOnce", "VanishInBody", "VanishInHandling", "VanishInHead", "VanishInResponse"]


class Vanish(Scenario):
    """The base of those that vanish: how far each goes is its own."""

    connections = 20
    per_second = 200.0

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        await self.so_far(load, connection)
        connection.reset()
        load.count("vanished")

    async def so_far(self, load: Load, connection: Connection) -> None:
        raise NotImplementedError


class VanishAtOnce(Vanish):
    """Connected, and gone. A sound server keeps nothing of it."""

    name = "vanish-at-once"
    rows = ("V02", "V08")

    async def so_far(self, load: Load, connection: Connection) -> None:
        return None


class VanishInHead(Vanish):
    """Gone in the middle of a head. A sound server frees what it had read."""

    name = "vanish-in-head"
    rows = ("V08", "E02")

    async def so_far(self, load: Load, connection: Connection) -> None:
        connection.send(connection.head()[:-3])
        await load.sleep(0.01)


class VanishInBody(Vanish):
    """Gone in the middle of an upload of 1 MiB. A sound server frees what it had read, on disk too."""

    name = "vanish-in-body"
    rows = ("V03", "V04", "V08")
    needs = frozenset({"upload"})
    per_second = 50.0

    async def so_far(self, load: Load, connection: Connection) -> None:
        connection.send(connection.head(load.where.paths["upload"], method="POST", length=1 << 20))
        connection.send(b"x" * (256 << 10))
        await load.sleep(0.05)


class VanishInHandling(Vanish):
    """Gone while its answer is being thought about. A sound server tells the handler, and forgets the request."""

    name = "vanish-in-handling"
    rows = ("E05", "V05", "V08")
    needs = frozenset({"later"})

    async def so_far(self, load: Load, connection: Connection) -> None:
        connection.get(load.where.paths["later"])
        await load.sleep(0.05)


class VanishInResponse(Vanish):
    """Gone with a large response half sent. A sound server stops sending and frees the rest."""

    name = "vanish-in-response"
    rows = ("V08", "V05")
    needs = frozenset({"large"})
    per_second = 20.0
    expectation = Expectation(left_bytes=ALLOCATOR_BYTES)

    async def so_far(self, load: Load, connection: Connection) -> None:
        connection.get(load.where.paths["large"])
        await connection.more()
        connection.pause()


class HalfClose(Scenario):
    """A request, and then FIN: the client says no more but still reads. A sound server answers, or closes; it does not
    keep half a connection.
    """

    name = "half-close"
    rows = ("V02", "V15")
    connections = 20

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get()
        connection.half_close()
        load.count(await connection.end())
