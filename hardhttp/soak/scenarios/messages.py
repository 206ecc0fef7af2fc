"""Messages that are wrong, too large, too many, or odd but right.

Each is sent, answered and counted, many times a second, each on a connection of its own or as many
as fit on one. A sound server answers what it refuses, closes where it must, and is the same size
afterwards. What is right, however odd, it answers as such.
"""

from __future__ import annotations

import itertools

from hardhttp.soak.connection import Connection
from hardhttp.soak.load import Load
from hardhttp.soak.scenario import MIB, Expectation, Scenario

__all__ = [
    "BadHeads",
    "BlankLines",
    "ChunkedOddities",
    "LongHeads",
    "OversizedChunks",
    "OversizedLength",
    "PipelineFlood",
    "PipelineVanish",
    "UniqueNames",
]

REFUSED = frozenset({"400", "401", "403", "404", "405", "408", "411", "413", "414", "421", "426", "429", "431"})
REFUSED |= {"500", "501", "503", "505", "closed", "reset"}


async def told(connection: Connection) -> str:
    """The first answer, or how the connection ended; what was sent may call for a second, which is not waited for."""
    answer = await connection.answer()
    connection.reset()
    return answer.outcome


class OversizedLength(Scenario):
    """A body of 10 GiB is announced, and an invitation waited for. A sound server says 413 before it invites."""

    name = "oversized-length"
    rows = ("V03", "ten: body cap")
    needs = frozenset({"upload"})
    expectation = Expectation(answers=frozenset({"413", "417", "closed", "reset"}))
    answered_by = ("max_body_bytes",)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        head = connection.head(load.where.paths["upload"], "Expect: 100-continue", method="POST", length=10 << 30)
        connection.send(head)
        while not connection.answered and not connection.invited:
            await connection.more()
        load.count("invited 10 GiB" if connection.invited else await told(connection))
        connection.reset()


class OversizedChunks(Scenario):
    """Chunks without end, as fast as they are taken. A sound server counts them, and says 413 at its bound."""

    name = "oversized-chunks"
    rows = ("V03", "V13", "ten: body cap")
    needs = frozenset({"upload"})
    connections = 5
    per_second = 5.0
    expectation = Expectation(held_bytes=400 * MIB, answers=frozenset({"413", "closed", "reset", "held"}))
    answered_by = ("max_body_bytes",)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head(load.where.paths["upload"], "Transfer-Encoding: chunked", method="POST"))
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        # As much as eats the memory of whoever keeps it, and not more than a run can bear.
        for _ in range(1024):
            if connection.ended is not None or connection.answered:
                break
            connection.send(chunk)
            await connection.drained()
        load.count(await told(connection))


class LongHeads(Scenario):
    """Heads of a megabyte: in one field, in the target, in ten thousand fields. A sound server says 431 or 414 long
    before it has read all of it.
    """

    name = "long-heads"
    rows = ("E02", "E07")
    expectation = Expectation(answers=REFUSED, held_bytes=200 * MIB)
    answered_by = ("max_head_bytes", "max_headers", "max_target_bytes")
    per_second = 30.0

    def __init__(self) -> None:
        self._kinds = itertools.cycle(("field", "target", "fields"))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        head = connection.head()[:-2]
        kind = next(self._kinds)
        if kind == "field":
            head += b"X: " + b"x" * MIB + b"\r\n\r\n"
        elif kind == "target":
            head = head.replace(b" HTTP/1.1", b"?" + b"x" * MIB + b" HTTP/1.1", 1) + b"\r\n"
        else:
            head += b"".join(b"X-%d: x\r\n" % number for number in range(10_000)) + b"\r\n"
        connection.send(head)
        load.count(await told(connection))


class BadHeads(Scenario):
    """Heads that are none: no Host, two Hosts, a blank before a colon, NUL, two lengths, length and chunks, version
    9.9, a TLS hello, binary noise. A sound server answers each with a 4xx or 5xx, or closes.
    """

    name = "bad-heads"
    rows = ("V06", "E02")
    expectation = Expectation(answers=REFUSED | {"200"})

    def __init__(self) -> None:
        self._next = itertools.count()

    def heads(self, line: bytes, host: bytes) -> tuple[bytes, ...]:
        return (
            line + b"\r\n",
            line + host + host + b"\r\n",
            line + host + b"Bad Name : x\r\n\r\n",
            line + host + b"X: a\x00b\r\n\r\n",
            line + host + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            line + host + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
            line + host + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
            line + host + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
            line.replace(b"1.1", b"9.9") + host + b"\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
            bytes(range(256)) * 8 + b"\r\n\r\n",
        )

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        line, _, host = connection.head().partition(b"\r\n")
        heads = self.heads(line + b"\r\n", host[:-2])
        connection.send(heads[next(self._next) % len(heads)])
        # Some servers wait for more of what they take for a body.
        connection.half_close()
        load.count(await told(connection))


class BlankLines(Scenario):
    """An empty line before a request, as RFC 9112 (2.2) allows. A sound server answers it as if there were none."""

    name = "blank-lines"
    rows = ("V06",)
    connections = 10
    expectation = Expectation(answers=frozenset({"200"}))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(b"\r\n" + connection.head())
        load.count((await connection.answer()).outcome)
        connection.close()


class ChunkedOddities(Scenario):
    """Chunked bodies as they may be (extensions, trailers, leading zeros) and as they may not (a negative size, a size
    of seventeen digits, no line end, a size line without end). A sound server takes the first, and refuses the others.
    """

    name = "chunked-oddities"
    rows = ("V13",)
    needs = frozenset({"upload"})
    expectation = Expectation(answers=REFUSED | {"200", "201", "204"})
    bodies = (
        b"5;name=value\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
        b"0005\r\nhello\r\n0\r\n\r\n",
        b"-1\r\nhello\r\n0\r\n\r\n",
        b"10000000000000005\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloX0\r\n\r\n",
        b"5;" + b"x" * 100_000 + b"\r\nhello\r\n0\r\n\r\n",
        b"0\r\n" + b"T: " + b"x" * 100_000 + b"\r\n\r\n",
        b"\r\n\r\n",
    )

    def __init__(self) -> None:
        self._bodies = itertools.cycle(self.bodies)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        head = connection.head(load.where.paths["upload"], "Transfer-Encoding: chunked", method="POST")
        connection.send(head + next(self._bodies))
        connection.half_close()
        load.count(await told(connection))


class PipelineFlood(Scenario):
    """Two hundred requests in one write, again and again, all answers taken. A sound server answers them in order."""

    name = "pipeline-flood"
    rows = ("V01", "V05", "V17")
    connections = 2
    per_second = 10.0
    expectation = Expectation(answers=frozenset({"200", "closed"}))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head() * 200)
        for _ in range(200):
            load.count((await connection.answer()).outcome)
        connection.reset()


class PipelineVanish(Scenario):
    """64 KiB of requests behind one that is not answered, and gone: a server that has stopped reading does not see its
    client leave. A sound one does, and tells the handler.
    """

    name = "pipeline-vanish"
    rows = ("E05", "V05", "V08")
    needs = frozenset({"later"})
    connections = 10
    per_second = 50.0

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.send(connection.head(load.where.paths["later"]))
        connection.send(connection.head() * 600)
        await load.sleep(0.1)
        connection.reset()
        load.count("vanished")


class UniqueNames(Scenario):
    """Queries, fields, cookies and paths that were never seen before, in every request. A sound server interns none of
    them, keeps none, and makes no metric of any.
    """

    name = "unique-names"
    rows = ("E07",)
    connections = 4
    per_second = 200.0
    expectation = Expectation(left_bytes=4 * MIB)

    def __init__(self) -> None:
        self._numbers = itertools.count()

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        for _ in range(50):
            number = next(self._numbers)
            path = f"/never{number}?key{number}=1&other{number}=2" if number % 2 else f"/?key{number}=1"
            connection.get(path, f"X-Never-{number}: x", f"Cookie: c{number}=x", f"Accept-Language: x-{number}")
            await connection.answer()
            load.count("answered")
            await load.sleep(0.02)
        connection.reset()
