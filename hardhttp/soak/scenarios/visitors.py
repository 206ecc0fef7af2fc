"""Visitors: with and without a session, with uploads they do not finish, and the ordinary mix of an access log."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Sequence

from hardhttp.soak.load import Load
from hardhttp.soak.scenario import KIB, MIB, Expectation, Scenario

__all__ = ["BrokenForms", "LargeUploads", "LateAnswers", "Lookers", "MixedTraffic", "SessionMakers", "read_log"]


class Lookers(Scenario):
    """Visitors without a cookie, each new, at a page that looks at the session and writes nothing. A sound server makes
    no session for them, and sends no cookie.
    """

    name = "lookers"
    rows = ("V16",)
    needs = frozenset({"look"})
    connections = 4
    per_second = 200.0
    expectation = Expectation(left_bytes=4 * MIB, answers=frozenset({"no cookie", "closed"}))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        for _ in range(100):
            connection.get(load.where.paths["look"])
            answer = await connection.answer()
            load.count("no cookie" if answer.header(b"set-cookie") is None else "a cookie for a looker")
            await load.sleep(0.01)
        connection.reset()


class SessionMakers(Scenario):
    """Visitors without a cookie, each new, at a page that writes into the session: each makes one, and never comes
    again. A sound server bounds sessions in number and bytes, and sweeps them by a timer.
    """

    name = "session-makers"
    rows = ("V11",)
    needs = frozenset({"session"})
    connections = 4
    per_second = 200.0
    # Until they expire they are rightly held; it is the bound that is looked for. Django and Rails keep up to 4 KiB in
    # a cookie; an object with its timer may take as much.
    expectation = Expectation(left_bytes=80 * MIB, held_bytes=80 * MIB, until_expiry={"a session": 4 * KIB})
    answered_by = ("max_sessions", "max_sessions_bytes", "session_idle_seconds")

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        for _ in range(100):
            connection.get(load.where.paths["session"])
            answer = await connection.answer()
            load.count("a session" if answer.header(b"set-cookie") is not None else answer.outcome)
            await load.sleep(0.01)
        connection.reset()


class LargeUploads(Scenario):
    """Uploads of 4 MiB, whole, on connections that then stay. A sound server is as large after them as before: the room
    a body took is not kept for the next.
    """

    name = "large-uploads"
    rows = ("V04", "V17")
    needs = frozenset({"upload"})
    connections = 4
    per_second = 4.0
    expectation = Expectation(held_bytes=200 * MIB, answers=frozenset({"200", "201", "204", "413", "closed", "reset"}))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get(load.where.paths["upload"], method="POST", body=b"x" * (4 * MIB))
        load.count((await connection.answer()).outcome)
        await load.sleep(2)
        connection.close()


class BrokenForms(Scenario):
    """Forms with files, cut off in the middle of a part, by FIN and by RST in turn. A sound server removes what it had
    put aside for them.
    """

    name = "broken-forms"
    rows = ("V03", "V08")
    needs = frozenset({"upload"})
    connections = 8
    per_second = 40.0

    def __init__(self) -> None:
        self._turns = itertools.cycle((True, False))

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        kind = "Content-Type: multipart/form-data; boundary=edge"
        part = b'--edge\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * (200 << 10)
        connection.send(connection.head(load.where.paths["upload"], kind, method="POST", length=1 << 20) + part)
        await load.sleep(0.1)
        if next(self._turns):
            connection.close()
        else:
            connection.reset()
        load.count("cut off")


class LateAnswers(Scenario):
    """A page that does not answer, and clients that wait. A sound server has a time for it, or holds little."""

    name = "late-answers"
    rows = ("E05",)
    needs = frozenset({"later"})
    connections = 50

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        connection.get(load.where.paths["later"])
        load.count((await connection.answer()).outcome)


# In the common and the combined format: the request line is the first thing in quotes.
_REQUEST = re.compile(r'"(GET|HEAD|POST) (/[!-~]{0,2000}) HTTP/[0-9.]+"')
# A browser's, where no log is given: pages, what is not there, what has not changed.
_ORDINARY = (("GET", "/"), ("HEAD", "/"), ("GET", "/favicon.ico"), ("GET", "/?page=2"), ("GET", "/robots.txt"))
MOST_LINES = 100_000


def read_log(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The method and target of each request of an access log (common or combined) that can be asked again."""
    for line in itertools.islice(lines, MOST_LINES):
        found = _REQUEST.search(line)
        if found is not None:
            yield found[1], found[2]


class MixedTraffic(Scenario):
    """Ordinary visitors: what an access log holds, replayed in its order by keep-alive clients that come and go
    (``--replay FILE``; else pages, missing pages and HEAD). A sound server does not grow by being used.
    """

    name = "mixed-traffic"
    rows = ("V17", "V05")
    connections = 10
    per_second = 20.0

    def __init__(self, requests: Sequence[tuple[str, str]] = _ORDINARY) -> None:
        self._requests = itertools.cycle(requests)

    async def client(self, load: Load) -> None:
        connection = await load.connect()
        for _ in range(30):
            method, target = next(self._requests)
            body = b"" if method == "POST" else None
            connection.get(target, "Accept: */*", "User-Agent: soak", method=method, body=body)
            if method == "HEAD":  # its answer has a length and no body, which a parser cannot know
                load.count(str(await connection.begun()))
                break
            load.count((await connection.answer()).outcome)
            await load.sleep(0.05)
        connection.close()
