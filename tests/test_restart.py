"""SIGUSR2: a successor takes the sockets, and nobody who asks notices. Real processes, sockets and clients."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import jwt
import pytest

from tests.listening import free_port, listens
from tests.net.loopback import certificate
from tests.restart_load import Connection, Load
from tests.twistd_process import ENVIRONMENT, PATIENCE_SECONDS, TWISTD, Logged, Server, ended_as_twistd_does

pytestmark = pytest.mark.slow

LOCAL = "127.0.0.1"

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
        unexpected = re.findall(r"a successor, process (\d+), is ready", self.log())
        for pid in {*self.pids, *map(int, unexpected)}:
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
def test_no_request_is_lost_over_restarts(begin, restarts: int, tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    server, line = begin(
        f"--listen=tls:0:{pem}:interface=127.0.0.1",
        "--session-store=sqlite:sessions.db",
        "--history=sqlite:history.db",
        f"--mercure-publisher-key={KEY}",
        "--anonymous",
        "--drain-seconds=2s",
        "--max-connections=400",
    )
    tls_port = int(server.wait_for(r"https://127\.0\.0\.1:(\d+)/")[1])
    load = Load(server.port, tls_port, ssl.create_default_context(cafile=str(pem)))
    load.run(load.keep_alive_tls)
    load.run(load.one_request_tls)
    for _ in range(3):
        load.run(load.keep_alive)
        load.run(load.one_request)
        load.run(load.hesitant)
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


# -- what the successor is --------------------------------------------------------------------


def ask(port: int, path: str = "/pid") -> dict[str, object]:
    connection = Connection(port)
    _, _, body = connection.ask("GET", path, Connection="close")
    connection.close()
    found: dict[str, object] = json.loads(body)
    return found


def test_it_is_started_as_its_predecessor_was(begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ENVIRONMENT, "A_WORD", "said once")
    server, line = begin("--listen=tcp:0:interface=127.0.0.1", "--listen=unix:http")
    before = ask(server.port)
    first = line.restart()
    wait_until(lambda: is_gone(first), "the first one lingers")
    assert server.process.wait(PATIENCE_SECONDS) == 0
    assert ask(server.port) == {**before, "pid": line.pid}
    assert before["word"] == "said once"
    assert os.readlink(tmp_path / "http.lock") == str(line.pid)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "http"))
        client.sendall(b"GET /hello HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert client.recv(1 << 16).endswith(b"hello")
    admin = int(server.wait_for(r"the admin side is at port (\d+)")[1])
    assert Connection(admin).ask("GET", "/readyz")[0] == 200
    line.signal(signal.SIGTERM)
    wait_until(lambda: is_gone(line.pid), "the last one lingers")
    assert not (tmp_path / "http").exists()
    assert not os.path.lexists(tmp_path / "http.lock")


def test_it_runs_what_is_on_the_disk_now(begin, tmp_path: Path) -> None:
    config = tmp_path / "hardhttp.toml"
    config.write_text("max-target-bytes = 100\n")
    server, line = begin("--config=hardhttp.toml", "--listen=tcp:0:interface=127.0.0.1")
    assert Connection(server.port).ask("GET", "/" + "a" * 200)[0] == 414
    (tmp_path / "shop.py").write_text((tmp_path / "shop.py").read_text().replace('"hello"', '"hello again"'))
    config.write_text("max-target-bytes = 1000\n")
    line.restart()
    assert Connection(server.port).ask("GET", "/" + "a" * 200)[0] == 404
    assert Connection(server.port).ask("GET", "/hello")[2] == b"hello again"


def test_a_restart_that_fails_costs_nothing(begin, tmp_path: Path) -> None:
    config, app = tmp_path / "hardhttp.toml", tmp_path / "shop.py"
    config.write_text("")
    server, line = begin(
        "--config=hardhttp.toml",
        "--listen=unix:http",
        f"--mercure-publisher-key={KEY}",
        "--anonymous",
        "--history=sqlite:history.db",
    )
    good = app.read_text()
    config.write_text("idle-seconds = 'soon'\n")
    line.fails(r"hardhttp.toml, line 1: --idle-seconds: 'soon'")
    config.write_text("")
    app.write_text("raise RuntimeError('not today')")
    line.fails(r"not today")
    app.write_text("import os; os._exit(3)")
    line.fails(r"the successor ended with status 3 before it was ready")
    app.write_text("import os; os.kill(os.getpid(), 9)")
    line.fails(r"the successor ended with signal 9 before it was ready")
    app.write_text(good)
    config.write_text("early-hints = 'none.toml'\n")
    line.fails(r"--early-hints.*none.toml")
    config.write_text("")
    connection = Connection(server.port)
    fields = {"Authorization": f"Bearer {TOKEN}"}
    # The last one had the history for a moment, and it has been taken back.
    assert connection.ask("POST", "/.well-known/mercure", b"topic=/a&data=1", **fields)[0] == 200
    assert ask(server.port)["pid"] == server.process.pid
    line.restart()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(tmp_path / "http"))
    assert "memory alone" not in line.log()


def test_a_file_may_ask_for_other_ports(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    config = tmp_path / "hardhttp.toml"
    first, second = free_port(), free_port()
    config.write_text(f"listen = ['tcp:{first}:interface=127.0.0.1']\nadmin = 'none'\napp = 'shop:root'\n")
    log = Logged()
    log.log = tmp_path / "server.log"
    with log.log.open("wb") as file:
        log.process = subprocess.Popen(
            [*TWISTD, "-n", "--pidfile=", "hardhttp", "--config=hardhttp.toml"],
            cwd=tmp_path,
            env=ENVIRONMENT,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    line = Line(log, log.process.pid)
    try:
        log.wait_for("listening: ")
        good = config.read_text()
        config.write_text("listen = ['unix:/no/such/place']\nadmin = 'none'\napp = 'shop:root'\n")
        line.fails(r"there is no directory /no/such")
        with socket.create_server(("127.0.0.1", 0)) as taken:
            config.write_text(good.replace(str(first), str(taken.getsockname()[1])))
            line.fails(r"hardhttp cannot start: .*in use")
        assert ask(first)["pid"] == line.pid
        config.write_text(good.replace(str(first), str(second)))
        line.restart()
        wait_until(lambda: is_gone(line.pids[0]), "it lingers")
        assert f"127.0.0.1:{first} is listened at no longer" in line.log()
        assert ask(second)["pid"] == line.pid
        assert listens(second, line.pid)
        assert not listens(first, line.pid)
    finally:
        line.end()
        log.process.wait(PATIENCE_SECONDS)


def test_a_stop_ends_a_successor_that_is_not_ready(begin, tmp_path: Path) -> None:
    server, line = begin()
    (tmp_path / "shop.py").write_text("import os, time; open('begun', 'w').write(str(os.getpid())); time.sleep(60)")
    line.signal()
    wait_until(lambda: (tmp_path / "begun").exists() and (tmp_path / "begun").read_text(), "no successor")
    line.signal()
    server.wait_for("a restart is asked for, but this process is waiting already")
    assert ended_as_twistd_does(server.stop())
    wait_until(lambda: is_gone(int((tmp_path / "begun").read_text())), "it goes on")


def test_a_daemon_and_its_pidfile(tmp_path: Path) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    port = free_port()
    words = ["hardhttp", f"--listen=tcp:{port}:interface=127.0.0.1", "--app=shop:root", "--admin=none"]
    subprocess.run([*TWISTD, *words], cwd=tmp_path, env=ENVIRONMENT, check=True, timeout=PATIENCE_SECONDS)
    log = Logged()
    log.log = tmp_path / "twistd.log"
    pidfile = tmp_path / "twistd.pid"
    line = Line(log, int(pidfile.read_text()))
    try:
        wait_until(lambda: "listening: " in line.log(), "it does not listen")
        for _ in range(2):
            before = line.restart()
            wait_until(lambda: is_gone(before), f"{before} lingers")  # noqa: B023
            assert pidfile.read_text() == str(line.pid)
            assert ask(port)["pid"] == line.pid
        again = subprocess.run([*TWISTD, *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
        assert b"Another twistd server is running" in again.stderr + again.stdout
        (tmp_path / "shop.py").write_text("import os; os._exit(3)")
        line.fails("the successor ended")
        assert pidfile.read_text() == str(line.pid)
        line.signal(signal.SIGTERM)
        wait_until(lambda: is_gone(line.pid), "it lingers")
        assert not pidfile.exists()
    finally:
        line.end()
