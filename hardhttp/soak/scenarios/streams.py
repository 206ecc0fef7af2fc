"""Subscribers of Server-Sent Events: those who stop reading, those who go, those who come back in a storm.

A stream is long and mostly quiet, so whoever has gone from it is found by writing alone. A sound
server bounds what waits for each subscriber, ends those who take nothing, and forgets those who left.
"""

from __future__ import annotations

import itertools

from hardhttp.soak.connection import Connection
from hardhttp.soak.load import Load
from hardhttp.soak.scenario import MIB, Expectation, Scenario

__all__ = ["ReconnectStorm", "Subscriber", "SubscriberRefused", "SubscriberStops", "SubscriberVanishes"]


async def subscribe(load: Load, *fields: str) -> Connection:
    connection = await load.connect()
    connection.get(load.where.paths["events"], "Accept: text/event-stream", *fields)
    return connection


class Subscriber(Scenario):
    """An honest subscriber who listens and stays. A sound server keeps it, with next to no memory."""

    name = "subscriber"
    rows = ("V10", "V15")
    needs = frozenset({"events"})
    connections = 100
    expectation = Expectation(answers=frozenset({"held", "closed", "200"}))

    async def client(self, load: Load) -> None:
        connection = await subscribe(load)
        load.count(await connection.end())


class SubscriberStops(Scenario):
    """A subscriber who reads the first event and nothing after. A sound server holds a bounded queue for it, and ends
    it when that is full or old.
    """

    name = "subscriber-stops"
    rows = ("V15", "V08", "ten: slow reader")
    needs = frozenset({"events"})
    connections = 50
    expectation = Expectation(held_bytes=100 * MIB)

    async def client(self, load: Load) -> None:
        connection = await subscribe(load)
        await connection.more()
        connection.stop_reading()
        while not connection.gone():
            await load.sleep(0.5)
        load.count("cut")
        connection.reset()


class SubscriberVanishes(Scenario):
    """A subscriber who gets the head of the stream and goes, by RST and by FIN in turn. A sound server ends the
    subscription once, and closes the socket.
    """

    name = "subscriber-vanishes"
    rows = ("V08", "V15")
    needs = frozenset({"events"})
    connections = 20
    per_second = 200.0

    def __init__(self) -> None:
        self._turns = itertools.cycle((True, False))

    async def client(self, load: Load) -> None:
        connection = await subscribe(load)
        await connection.more()
        if next(self._turns):
            connection.reset()
        else:
            connection.close()
        load.count("vanished")


class SubscriberRefused(Scenario):
    """A subscriber who has gone before the subscription stands: asked, and reset in the same moment. A sound server
    leaves neither the connection nor half a subscription.
    """

    name = "subscriber-gone-at-once"
    rows = ("V09",)
    needs = frozenset({"events"})
    connections = 20
    per_second = 200.0

    async def client(self, load: Load) -> None:
        connection = await subscribe(load)
        await load.sleep(0)
        connection.reset()
        load.count("vanished")


class ReconnectStorm(Scenario):
    """Two hundred subscribers who all go at once, and all come back at once, with the id of the last event they had.
    A sound server takes them in turn, and serves others meanwhile.
    """

    name = "reconnect-storm"
    rows = ("V15", "V09")
    needs = frozenset({"events"})
    connections = 200
    per_second = 400.0
    expectation = Expectation(honest_p99_ms=1000.0)

    async def client(self, load: Load) -> None:
        connection = await subscribe(load, "Last-Event-ID: 1")
        await connection.more()
        load.count("came back")
        # All of them at the next full second.
        await load.sleep(1.0 - load.elapsed_seconds % 1.0)
        connection.reset()
