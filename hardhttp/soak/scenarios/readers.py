"""Clients that do not take what they asked for, and honest ones that take it slowly.

To a server both look alike at first. A sound one asks a minimum rate of whoever it sends to: those
who take nothing are cut, and what they held is given back; those who are slow are served to the end.
"""

from __future__ import annotations

from typing import ClassVar

from hardhttp.soak.connection import Connection, ConnectionEnded
from hardhttp.soak.load import Load
from hardhttp.soak.scenario import ALLOCATOR_BYTES, MIB, Expectation, Scenario

__all__ = ["PipelinedReader", "SlowReader", "SlowUploader", "StoppedReader", "StoppedReaderClosing"]


class StoppedReader(Scenario):
    """A large page is asked for on a connection that may be kept, and not read. A sound server holds little of it, and
    cuts the client when nothing has been taken for its time.
    """

    name = "stopped-reader"
    rows: ClassVar[tuple[str, ...]] = ("V02", "ten: slow reader")
    needs = frozenset({"large"})
    connections = 20
    per_second = 20.0
    expectation = Expectation(held_bytes=400 * MIB, left_bytes=ALLOCATOR_BYTES, held_seconds=130)
    answered_by: tuple[str, ...] = ("send_seconds", "send_bytes_per_second")
    fields: tuple[str, ...] = ()

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.stop_reading()
        connection.get(load.where.paths["large"], *self.fields)
        load.count(await self.cut(load, connection))

    @staticmethod
    async def cut(load: Load, connection: Connection) -> str:
        """Look every now and then whether the server has gone."""
        while not connection.gone():
            await load.sleep(0.25)
        connection.reset()
        return "cut"


class StoppedReaderClosing(StoppedReader):
    """The same with ``Connection: close``, where many servers forget the client: its response is "done". A sound
    server's close has an abort behind it.
    """

    name = "stopped-reader-closing"
    rows = ("ten: slow reader",)
    fields: tuple[str, ...] = ("Connection: close",)


class SlowReader(Scenario):
    """An honest client on a thin line takes a large page at some 200 KB/s. A sound server lets it: every such
    client is still there when the load ends, or has got all of it.
    """

    name = "slow-reader"
    rows = ("ten: slow reader",)
    needs = frozenset({"large"})
    connections = 10
    expectation = Expectation(answers=frozenset({"whole", "held"}), held_bytes=200 * MIB, left_bytes=ALLOCATOR_BYTES)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get(load.where.paths["large"])
        try:
            while not connection.answered:
                await connection.more()
                connection.pause()
                await load.sleep(0.25)
                connection.resume()
        except ConnectionEnded:
            load.count("cut an honest client")
            return
        answer = await connection.answer()
        load.count("whole" if answer.status == 200 else answer.outcome)
        connection.close()


class SlowUploader(Scenario):
    """An honest client on a thin line sends 100 KB at 4 KB/s: well above any minimum. A sound server waits for it."""

    name = "slow-uploader"
    rows = ("ten: body drip",)
    needs = frozenset({"upload"})
    connections = 10
    expectation = Expectation(answers=frozenset({"200", "201", "204", "held"}))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head(load.where.paths["upload"], method="POST", length=100_000))
        for _ in range(100):
            connection.send(b"x" * 1000)
            await load.sleep(0.25)
            if connection.ended is not None:
                load.count("cut an honest client")
                return
        load.count((await connection.answer()).outcome)
        connection.close()


class PipelinedReader(Scenario):
    """Many large pages are asked for at once on one connection, and none is read. A sound server answers one after
    the other: what it holds does not grow with what was asked.
    """

    name = "pipelined-reader"
    rows = ("V04", "ten: slow reader")
    needs = frozenset({"large"})
    connections = 5
    per_second = 10.0
    expectation = Expectation(held_bytes=200 * MIB, left_bytes=ALLOCATOR_BYTES, held_seconds=130)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.stop_reading()
        connection.send(connection.head(load.where.paths["large"]) * 20)
        load.count(await StoppedReader.cut(load, connection))
