"""``twistd hardhttp --workers``, as processes that are killed, held, replaced and orphaned while clients ask."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import textwrap
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.listening import free_port, listens
from tests.steady_load import Load
from tests.twistd_process import ENVIRONMENT, PATIENCE_SECONDS, Server, ended_as_twistd_does, run

pytestmark = pytest.mark.slow

APP = """
    import os, time
    from twisted.internet import reactor
    from twisted.internet.task import deferLater
    from twisted.web.resource import Resource

    kept = []

    class Root(Resource):
        isLeaf = True

        async def render_GET(self, request):
            if request.path == b"/hold":
                time.sleep(1000)
            if request.path == b"/grow":
                kept.append(os.urandom(1 << 26))
            if request.path == b"/slow":
                request.write(b"begun ")
                await deferLater(reactor, 1.0)
            return b"%d" % os.getpid()

    root = Root()
"""
Start = Callable[..., "Parent"]


class Parent(Server):
    """A parent with its workers."""

    def __init__(self, cwd: Path, *options: str, count: int = 2) -> None:
        self.admin_port = free_port()
        self.seen: set[int] = set()
        admin = f"--admin=tcp:{self.admin_port}:interface=127.0.0.1"
        super().__init__(cwd, f"--workers={count}", admin, *options)
        try:
            self.wait_until(lambda: self.asked("/workers")["ready"] == count, "all workers are ready")
        except BaseException:
            self.close()
            raise

    def asked(self, path: str, method: str = "GET", body: str | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=PATIENCE_SECONDS)
        connection.request(method, path, body, {} if body is None else {"Content-Type": "application/json"})
        response = connection.getresponse()
        self.status = response.status
        text = response.read().decode("utf-8")
        connection.close()
        return json.loads(text) if text.startswith("{") else text

    @property
    def pids(self) -> dict[int, int]:
        """The processes of workers that are ready, by number."""
        found = {row["number"]: row["pid"] for row in self.asked("/workers")["workers"] if row["state"] == "ready"}
        self.seen.update(found.values())
        return found

    def wait_until(self, holds: Callable[[], Any], what: str) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            try:
                if holds():
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}\n{self.log.read_text('utf-8')[-4000:]}")

    def close(self) -> None:
        super().close()
        for pid in self.seen:  # those of a parent that was killed, if they outlived it
            if is_there(pid):
                os.kill(pid, signal.SIGKILL)


def is_there(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    started: list[Parent] = []

    def begin(*options: str, count: int = 2) -> Parent:
        words = ("--app=shop:root", f"--session-store=sqlite:{tmp_path}/sessions.db", *options)
        started.append(Parent(tmp_path, *words, count=count))
        return started[-1]

    yield begin
    for parent in started:
        parent.close()


def test_all_of_them_answer_and_all_end(start: Start) -> None:
    parent = start()
    with Load(parent.port) as load:
        parent.wait_until(lambda: len(load.answers) == 2, "both answered")
    assert load.lost == []
    pids = parent.pids
    assert {int(each) for each in load.answers} == {*pids.values()}
    assert parent.asked("/workers")["wanted"] == 2
    assert ended_as_twistd_does(parent.stop())
    assert not any(map(is_there, pids.values()))
    assert not listens(parent.port, *pids.values(), parent.process.pid)


def test_e04_a_dead_worker_is_replaced_and_nobody_is_refused(start: Start) -> None:
    parent = start()
    before = parent.pids
    with Load(parent.port, each=1) as load:
        parent.wait_until(lambda: load.count > 50, "it goes")
        os.kill(before[1], signal.SIGKILL)
        parent.wait_until(lambda: len(now := parent.pids) == 2 and now != before, "it is replaced")
        fresh = str(parent.pids[1]).encode("ascii")
        parent.wait_until(lambda: load.answers[fresh], "its successor answers")
    # Four clients at most had a connection to it; whoever had none is served.
    assert len(load.lost) <= 4
    assert not any("Refused" in each for each in load.lost)
    said = parent.asked("/workers")
    assert said["ends"]["died"] == 1
    assert said["workers"][0]["last_end"] == "died: signal 9 (SIGKILL)"


def test_e04_nothing_outlives_a_parent_that_was_killed(start: Start) -> None:
    parent = start()
    pids = [*parent.pids.values()]
    with socket.create_connection(("127.0.0.1", parent.port), PATIENCE_SECONDS) as held:
        held.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")  # one of them does not even hear of it
        with Load(parent.port, clients=2):
            parent.wait_until(lambda: parent.asked("/connections")["missing"], "one is held")
            parent.process.kill()
            parent.process.wait()
            parent.wait_until(lambda: not any(map(is_there, pids)), "they have ended")
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", parent.port))


def test_all_are_replaced_under_load_and_no_request_is_lost(start: Start) -> None:
    parent = start()
    before = {*parent.pids.values()}
    with Load(parent.port, clients=4, each=10) as load, Load(parent.port, clients=4, each=1) as short:
        parent.wait_until(lambda: load.count > 50, "it goes")
        parent.process.send_signal(signal.SIGUSR2)
        parent.wait_until(lambda: parent.asked("/workers")["ends"]["asked"] == 2, "both are replaced")
        parent.wait_until(lambda: not before & {*parent.pids.values()}, "by others")
        count = load.count
        parent.wait_until(lambda: load.count > count + 50, "it goes on")
    assert (load.lost, short.lost) == ([], [])
    assert parent.asked("/workers")["ends"] == {**dict.fromkeys(parent.asked("/workers")["ends"], 0), "asked": 2}


def test_a_response_in_flight_ends_while_its_worker_is_replaced(start: Start) -> None:
    parent = start(count=1)
    (pid,) = parent.pids.values()
    connection = http.client.HTTPConnection("127.0.0.1", parent.port, timeout=PATIENCE_SECONDS)
    connection.request("GET", "/slow")
    response = connection.getresponse()
    parent.process.send_signal(signal.SIGUSR2)
    parent.wait_until(
        lambda: next(row["state"] for row in parent.asked("/workers")["workers"]) == "retiring", "retiring"
    )
    assert response.read() == b"begun %d" % pid
    connection.close()
    parent.wait_until(lambda: not is_there(pid), "it has ended")


def test_one_that_is_held_is_killed_says_where_and_is_replaced(start: Start) -> None:
    parent = start("--worker-stuck-seconds=5")
    before = parent.pids
    with socket.create_connection(("127.0.0.1", parent.port), PATIENCE_SECONDS) as held:
        held.sendall(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n")
        parent.wait_until(lambda: parent.asked("/connections")["missing"], "it is left out")
        assert parent.asked("/readyz")["ready"] is True
        assert "does not answer" in parent.asked("/readyz")["notes"][0]
        parent.wait_until(lambda: len(now := parent.pids) == 2 and now != before, "it is replaced")
    parent.wait_until(lambda: parent.asked("/workers")["ends"]["stuck"] == 1, "it has ended")
    assert parent.wait_for(r'shop\.py", line \d+ in render_GET')


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux says how large another process is")
def test_one_that_has_grown_is_replaced(start: Start) -> None:
    parent = start("--worker-max-rss=110MiB", count=1)
    (before,) = parent.pids.values()
    assert parent.get("/grow")[0] == 200
    parent.wait_until(lambda: parent.asked("/workers")["ends"]["memory"] == 1, "it is replaced")
    assert parent.pids
    assert before not in parent.pids.values()


def test_hanging_up_reaches_all(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text("idle-seconds = '2m'\n")
    parent = start(f"--config={config}")
    config.write_text("idle-seconds = '1m'\n")
    parent.process.send_signal(signal.SIGHUP)
    parent.wait_for(r"\[worker 1\].*changed: idle-seconds")
    parent.wait_for(r"\[worker 2\].*changed: idle-seconds")
    config.write_text("idle-seconds = 'soon'\n")
    parent.process.send_signal(signal.SIGHUP)
    parent.wait_for(r"\[worker 2\].*the configuration stays as it was")
    assert parent.get("/")[0] == 200


def test_metrics_and_connections_of_all(start: Start) -> None:
    parent = start("--max-connections=101")
    held = [socket.create_connection(("127.0.0.1", parent.port), PATIENCE_SECONDS) for _ in range(12)]
    for each in held:
        each.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert each.recv(1000).startswith(b"HTTP/1.1 200")
    families = {family.name: family for family in text_string_to_metric_families(parent.asked("/metrics"))}
    open_now = families["hardhttp_connections"].samples
    assert {sample.labels["worker"] for sample in open_now} == {"1", "2"}
    assert sum(sample.value for sample in open_now) == 12
    assert sum(sample.value for sample in families["hardhttp_requests"].samples) == 12
    assert {s.labels["worker"] for s in families["process_resident_memory_bytes"].samples} == {"1", "2", "parent"}
    assert {s.labels["state"]: s.value for s in families["hardhttp_workers"].samples}["ready"] == 2

    page = parent.asked("/connections?limit=5")
    rows = page["connections"]
    assert page["open"] == 12
    while page["next"] is not None:
        page = parent.asked(f"/connections?limit=5&after={page['next']}")
        rows += page["connections"]
    assert len({row["id"] for row in rows}) == 12
    parent.asked(f"/connections/{rows[-1]['id']}", "DELETE")
    assert parent.status == 204
    parent.wait_until(lambda: parent.asked("/connections")["open"] == 11, "it has ended")
    parent.asked(f"/connections/{rows[-1]['id']}", "DELETE")
    assert parent.status == 404

    limits = {row["name"]: row for row in parent.asked("/limits")["limits"]}
    assert (limits["max_connections"]["value"], limits["max_connections"]["per_worker"]) == (101, 51)
    assert parent.asked("/figures")["connections"]["open"] == 11
    assert len(parent.asked("/figures")["workers"]) == 2
    for each in held:
        each.close()


def test_the_level_of_all_logs_and_of_those_to_come(start: Start) -> None:
    parent = start("--log-format=json", count=1)
    assert parent.asked("/log-level", "PUT", '{"level": "critical"}')["level"] == "critical"
    before = parent.pids
    os.kill(before[1], signal.SIGKILL)
    parent.wait_until(lambda: (now := parent.pids) and now != before, "it is replaced")
    assert parent.asked("/log-level")["level"] == "critical"
    assert parent.asked("/log-level", "PUT", '{"level": "loud"}')
    assert parent.status == 400
    lines = [json.loads(line) for line in parent.log.read_text("utf-8").splitlines() if line.startswith("{")]
    assert {line.get("worker") for line in lines} >= {None, 1}


def test_lines_of_one_access_log_are_whole_while_it_rotates(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    parent = start(f"--access-log={log}", "--access-log-rotate=64KiB", "--access-log-keep=50")
    with Load(parent.port, clients=6, each=50) as load:
        parent.wait_until(lambda: load.count > 4000, "it goes")
    assert load.lost == []
    parent.stop()
    files = [*tmp_path.glob("access.log*")]
    assert len(files) > 3
    lines = [line for file in files for line in file.read_bytes().splitlines()]
    assert len(lines) == load.count
    assert all(line.startswith(b"127.0.0.1 - - [") and b'"GET / HTTP/1.1" 200 ' in line for line in lines)


def test_a_unix_socket(start: Start, tmp_path: Path) -> None:
    path = tmp_path / "http"
    parent = start(f"--listen=unix:{path}")
    pids = [*parent.pids.values()]
    os.kill(pids[0], signal.SIGTERM)
    parent.wait_until(lambda: len(now := parent.pids) == 2 and [*now.values()] != pids, "it is replaced")
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE_SECONDS)
        client.connect(str(path))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 200")
    parent.stop()
    assert not path.exists()


def test_systemd_hears_of_the_parent_alone(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, socket.socket() as listening:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_SECONDS)
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        monkeypatch.setitem(ENVIRONMENT, "NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setitem(ENVIRONMENT, "HARDHTTP_FDS", json.dumps([{"fd": listening.fileno(), "name": "web"}]))
        listening.set_inheritable(True)
        monkeypatch.setattr(subprocess, "Popen", partial(subprocess.Popen, pass_fds=[listening.fileno()]))
        parent = start("--listen=systemd:web")
        listening.close()
        assert systemd.recv(1000) == b"READY=1\nSTATUS=1 of 2 workers are ready"
        assert systemd.recv(1000) == b"STATUS=2 of 2 workers are ready"
        with Load(port) as load:  # by the socket that was passed on, and on to the workers
            parent.wait_until(lambda: len(load.answers) == 2, "both answered")
        assert load.lost == []
        parent.process.send_signal(signal.SIGHUP)
        assert systemd.recv(1000).startswith(b"RELOADING=1\n")
        assert systemd.recv(1000).startswith(b"READY=1\n")
        parent.stop()
        assert systemd.recv(1000).startswith(b"STOPPING=1\n")
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(1000)


# -- the start ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--app=shop:nothing", "--session-store=sqlite:s.db"), "--app shop:nothing: "),
        (("--app=shop:root",), "--session-store"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_begun(tmp_path: Path, words: tuple[str, ...], said: str) -> None:
    (tmp_path / "shop.py").write_text(textwrap.dedent(APP))
    ended = run(tmp_path, "-n", "--pidfile=", "hardhttp", "--workers=2", "--listen=tcp:0:interface=127.0.0.1", *words)
    assert ended.returncode == 1
    assert said in ended.stdout + ended.stderr


def test_workers_that_cannot_start_end_the_whole(tmp_path: Path) -> None:
    """Something that the check of the options cannot see."""
    text = textwrap.dedent(APP) + textwrap.dedent("""
        import sys
        if "--check" not in sys.argv:
            raise RuntimeError("the database is away")
    """)
    (tmp_path / "shop.py").write_text(text)
    words = ("--app=shop:root", "--session-store=sqlite:s.db", "--admin=none", "--listen=tcp:0:interface=127.0.0.1")
    ended = run(tmp_path, "-n", "--pidfile=", "hardhttp", "--workers=2", *words)
    assert ended.returncode == 1
    assert "no worker can start" in ended.stderr
    assert "the database is away" in ended.stderr
