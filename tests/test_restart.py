"""SIGUSR2: a successor takes the sockets, and nobody who asks notices. Real processes, sockets and clients."""

from __future__ import annotations

import os
import re
import signal
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest

from tests.restart_load import Load
from tests.twistd_process import PATIENCE_SECONDS, Logged, Server

pytestmark = pytest.mark.slow

KEY = "a key of no less than two hundred and fifty-six bits"
TOKEN = jwt.encode({"mercure": {"publish": ["*"]}}, KEY, algorithm="HS256")

APP = """
    import os
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    from hardhttp.web.routing import Router

    root = Router()

    @root.get("/hello")
    def hello(request):
        return "hello"

    @root.get("/pid")
    def pid(request):
        return {"pid": os.getpid(), "directory": os.getcwd(), "word": os.environ.get("A_WORD")}

    @root.get("/slow")
    async def slow(request):
        await deferLater(reactor, 0.05, lambda: None)
        return "slow" * 1000

    @root.get("/count")
    def count(request):
        request.session["n"] = request.session.get("n", 0) + 1
        return {"n": request.session["n"]}
"""


def is_gone(pid: int) -> bool:
    """Nobody may be there to ask how it ended."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state == "Z"


def wait_until(condition: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


class Line:
    """A server and those that succeed it; ``pid`` is the one that serves now."""

    def __init__(self, server: Logged, pid: int) -> None:
        self.server, self.pid = server, pid
        self.pids = [pid]

    def log(self) -> str:
        return self.server.log.read_text("utf-8")

    def signal(self, number: int = signal.SIGUSR2) -> None:
        os.kill(self.pid, number)

    def restart(self) -> int:
        """One more; the pid before."""
        before = self.pid
        seen = len(re.findall(r"a successor, process \d+, is ready", self.log()))
        self.signal()

        def ready() -> bool:
            found = re.findall(r"a successor, process (\d+), is ready", self.log())
            if len(found) > seen:
                self.pid = int(found[-1])
                self.pids.append(self.pid)
            return len(found) > seen

        wait_until(ready, f"no successor:\n{self.log()[-3000:]}")
        return before

    def fails(self, pattern: str) -> None:
        """A restart that fails, with one line that says why."""
        before = self.log().count("the restart failed")
        self.signal()
        wait_until(lambda: self.log().count("the restart failed") > before, self.log())
        line = re.findall(r"the restart failed.*", self.log())[-1]
        assert re.search(pattern, line), line

    def end(self) -> None:
        for pid in self.pids:
            if not is_gone(pid):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., tuple[Server, Line]]]:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    lines: list[Line] = []
    servers: list[Server] = []

    def begin(*options: str) -> tuple[Server, Line]:
        server = Server(tmp_path, "--app=shop:root", "--admin=tcp:0:interface=127.0.0.1", *options)
        servers.append(server)
        lines.append(Line(server, server.process.pid))
        return server, lines[-1]

    yield begin
    for line in lines:
        line.end()
    for server in servers:
        server.close()


@pytest.mark.parametrize("restarts", [10])
def test_no_request_is_lost_over_restarts(begin, restarts: int) -> None:
    server, line = begin(
        "--session-store=sqlite:sessions.db",
        "--history=sqlite:history.db",
        f"--mercure-publisher-key={KEY}",
        "--anonymous",
        "--drain-seconds=2s",
        "--max-connections=400",
    )
    load = Load(server.port)
    for _ in range(3):
        load.run(load.keep_alive)
        load.run(load.one_request)
    load.run(load.session)
    load.run(load.publish(TOKEN))
    load.run(load.subscriber)
    wait_until(lambda: load.answers > 50 and load.received, f"no answers: {load.lost}")
    for _ in range(restarts):
        line.restart()
        answers = load.answers
        wait_until(lambda: load.answers > answers + 50, f"no answers any more: {load.lost}")  # noqa: B023
    load.end()
    print(
        f"{load.answers} answers, {load.repeats} repeats, {load.refused_events} events put off, "
        f"{load.retries} streams told to come back"
    )
    assert load.lost == []
    assert load.received == load.published
    assert load.acknowledged > restarts
    for pid in line.pids[:-1]:
        wait_until(lambda: is_gone(pid), f"{pid} lingers")  # noqa: B023
    for word in ("Traceback", "locked", "degraded", "memory alone", "failed"):
        assert word not in line.log()
