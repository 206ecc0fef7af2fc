"""A probe of real processes, of a /proc made by hand, and of admin sides that answer well, badly and never."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hardhttp.soak.adminside import MAX_ANSWER_BYTES
from hardhttp.soak.probes import Probe, ProbeError, ProcessGone

MiB = 1 << 20


class Told:
    """A Python process that runs one line after another, and answers each."""

    LOOP = "import sys\nfor line in sys.stdin:\n    exec(line)\n    print(flush=True)"

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", self.LOOP], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.run("import os, subprocess, threading, time")

    def run(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "\n"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def told() -> Iterator[Told]:
    started = Told()
    yield started
    started.close()


def test_what_a_process_takes_is_seen(told: Told) -> None:
    probe = Probe(told.process.pid)
    before = probe.look()
    assert (before.processes, before.threads) == (1, 1)
    assert before.ledger_bytes is before.connections is None
    told.run("held = b'x' * (20 << 20); files = [open('/dev/null') for _ in range(7)]")
    told.run("stop = threading.Event(); threads = [threading.Thread(target=stop.wait) for _ in range(3)]")
    told.run("[thread.start() for thread in threads]")
    after = probe.look()
    assert 20 * MiB <= after.rss_bytes - before.rss_bytes < 24 * MiB
    assert after.uss_bytes is not None
    assert before.uss_bytes is not None
    assert 20 * MiB <= after.uss_bytes - before.uss_bytes < 24 * MiB
    assert after.pss_bytes is not None
    assert after.uss_bytes <= after.pss_bytes <= after.rss_bytes + MiB
    assert after.descriptors - before.descriptors == 7
    assert after.threads == 4
    told.run("del held; [file.close() for file in files]; stop.set(); [thread.join() for thread in threads]")
    given_back = probe.look()
    assert given_back.rss_bytes - before.rss_bytes < 4 * MiB
    assert given_back.descriptors == before.descriptors


def test_children_and_theirs_are_counted(told: Told) -> None:
    probe = Probe(told.process.pid)
    alone = probe.look()
    told.run("child = subprocess.Popen(['sh', '-c', 'sleep 100 & echo; wait'], stdout=subprocess.PIPE)")
    told.run("child.stdout.read(1)")
    family = probe.look()
    assert family.processes == 3
    assert family.descriptors > alone.descriptors
    assert family.rss_bytes > alone.rss_bytes
    told.run("subprocess.run(['pkill', '-P', str(child.pid)]); child.wait(); child.stdout.close()")
    assert probe.look().processes == 1


def test_processor_time_of_the_dead_is_not_forgotten(told: Told) -> None:
    probe = Probe(told.process.pid)
    before = probe.look().cpu_seconds
    told.run("subprocess.run([os.sys.executable, '-c', 'x = sum(range(5_000_000))'])")
    assert probe.look().cpu_seconds - before >= 0.03


def test_who_has_gone_is_told(told: Told) -> None:
    probe = Probe(told.process.pid)
    told.process.kill()
    os.waitid(os.P_PID, told.process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(ProcessGone, match="has ended; its parent has not asked how"):
        probe.look()
    told.process.wait()
    with pytest.raises(ProcessGone, match=f"there is no process {told.process.pid}"):
        probe.look()
    with pytest.raises(ProcessGone):
        Probe(told.process.pid)


# -- a /proc made by hand ----------------------------------------------------------------------


def stat(parent: int, state: str = "S", started: int = 100, name: str = "server") -> str:
    fields = ["0"] * 49
    fields[0], fields[1] = state, str(parent)
    fields[11:15] = ["10", "20", "30", "40"]
    fields[17], fields[19], fields[21] = "2", str(started), "5"
    return f"7 ({name}) {' '.join(fields)}\n"


ROLLUP = "0-1 ---p 0 00:00 0 [rollup]\nRss: 9 kB\nPss: 7 kB\nPrivate_Clean: 1 kB\nPrivate_Dirty: 2 kB\nSwapPss: 3 kB\n"


def put(proc: Path, pid: int | str, parent: int = 1, **given: str | int) -> Path:
    folder = proc / str(pid)
    (folder / "fd").mkdir(parents=True)
    (folder / "fd" / "0").touch()
    (folder / "stat").write_text(stat(parent, **given))  # type: ignore[arg-type]
    (folder / "smaps_rollup").write_text(ROLLUP)
    return folder


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    put(tmp_path, "self")
    put(tmp_path, 10)
    put(tmp_path, 11, parent=10, name="a) R 1 (b")
    put(tmp_path, 12, parent=11)
    put(tmp_path, 13, parent=1)
    put(tmp_path, 14, parent=10, state="Z")
    return tmp_path


def test_the_figures_of_a_family(proc: Path) -> None:
    figures = Probe(10, proc=proc).look()
    assert figures.processes == 3
    assert figures.rss_bytes == 3 * 5 * os.sysconf("SC_PAGE_SIZE")
    assert figures.pss_bytes == 3 * (7 + 3) * 1024
    assert figures.uss_bytes == 3 * (1 + 2 + 3) * 1024
    assert (figures.descriptors, figures.threads) == (3, 6)
    assert figures.cpu_seconds == 3 * 100 / os.sysconf("SC_CLK_TCK")


def test_a_number_given_to_another_is_no_success(proc: Path) -> None:
    probe = Probe(10, proc=proc)
    shutil.rmtree(proc / "10")
    put(proc, 10, started=101)
    with pytest.raises(ProcessGone, match="given to another"):
        probe.look()


def test_a_child_that_goes_while_it_is_read_counts_for_nothing(proc: Path) -> None:
    shutil.rmtree(proc / "12" / "fd")
    figures = Probe(10, proc=proc).look()
    assert (figures.processes, figures.descriptors) == (2, 2)


def test_without_smaps_rollup_memory_is_resident_alone(proc: Path) -> None:
    (proc / "12" / "smaps_rollup").unlink()
    figures = Probe(10, proc=proc).look()
    assert figures.pss_bytes is figures.uss_bytes is None
    assert figures.processes == 3


def test_what_may_not_be_read_is_told(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe(10, proc=proc)
    refuse = PermissionError(13, "no")

    def listdir(path: Path) -> list[str]:
        if Path(path).name == "fd":
            raise refuse
        return ["10"]

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(ProbeError, match="run as its user, or as root"):
        probe.look()


def test_no_proc_no_probe(tmp_path: Path) -> None:
    with pytest.raises(ProbeError, match="need Linux"):
        Probe(os.getpid(), proc=tmp_path)


# -- the admin side ----------------------------------------------------------------------------


class Admin:
    """Answers one connection after another, each in the way of ``answer``."""

    def __init__(self, answer: Callable[[socket.socket, bytes], None]) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.asked: list[bytes] = []
        self.answer = answer
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                self.asked.append(connection.recv(65536))
                try:
                    self.answer(connection, self.asked[-1])
                except OSError:
                    pass

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


METRICS = b"""# TYPE hardhttp_held_bytes gauge
hardhttp_held_bytes{kind="body"} 100.0
hardhttp_held_bytes{kind="queue"} 20.0
# TYPE hardhttp_connections gauge
hardhttp_connections{phase="head"} 3.0
hardhttp_connections{phase="idle"} 4.0
# TYPE hardhttp_connections_peak gauge
hardhttp_connections_peak 99.0
"""


def well(connection: socket.socket, asked: bytes) -> None:
    body = METRICS if asked.startswith(b"GET /metrics ") else b'{"open": 6, "connections": []}'
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


def answers(status: bytes, body: bytes) -> Callable[[socket.socket, bytes], None]:
    return lambda connection, _: connection.sendall(b"HTTP/1.0 " + status + b"\r\n\r\n" + body)


def for_ever(connection: socket.socket, asked: bytes) -> None:
    connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n")
    for _ in range(MAX_ANSWER_BYTES // 65536 + 8):
        connection.sendall(b"#" * 65536)


def dripping(tick: Callable[[], None]) -> Callable[[socket.socket, bytes], None]:
    def answer(connection: socket.socket, asked: bytes) -> None:
        for _ in range(100):
            tick()
            connection.sendall(b"H")

    return answer


@pytest.fixture
def admin() -> Iterator[Callable[[Callable[[socket.socket, bytes], None]], Admin]]:
    started: list[Admin] = []

    def start(answer: Callable[[socket.socket, bytes], None]) -> Admin:
        started.append(Admin(answer))
        return started[-1]

    yield start
    for each in started:
        each.close()
    gc.collect()


def test_the_ledger_and_the_connections_are_asked_for(admin) -> None:
    side = admin(well)
    probe = Probe(os.getpid(), side.url + "/", admin_token="secret")
    figures = probe.look()
    assert (figures.ledger_bytes, figures.connections, probe.admin_trouble) == (120, 6, None)
    assert [line.split(b" ")[1] for line in side.asked] == [b"/metrics", b"/connections?limit=1"]
    assert all(b"\r\nAuthorization: Bearer secret\r\n" in asked for asked in side.asked)
    assert "secret" not in repr(probe)


def test_metrics_alone_will_do(admin) -> None:
    def answer(connection: socket.socket, asked: bytes) -> None:
        if asked.startswith(b"GET /metrics "):
            well(connection, asked)
        else:
            connection.sendall(b"HTTP/1.0 404 Not Found\r\n\r\n")

    probe = Probe(os.getpid(), admin(answer).url)
    assert (probe.look().ledger_bytes, probe.look().connections) == (120, 7)
    assert probe.admin_trouble == "listed: /connections?limit=1 was answered 404 Not Found"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (answers(b"401 Unauthorized", b""), "answered 401"),
        (answers(b"200 OK", b"{}"), "does not say how many"),
        (answers(b"200 OK", b"\xff"), "decode"),
        (lambda connection, asked: None, "listed: "),
        (for_ever, "longer than"),
    ],
)
def test_a_bad_answer_is_no_error(admin, answer, said: str) -> None:
    probe = Probe(os.getpid(), admin(answer).url)
    figures = probe.look()
    assert figures.ledger_bytes is figures.connections is None
    assert figures.processes >= 1
    assert said in (probe.admin_trouble or "")


def test_a_trickle_does_not_move_the_deadline(admin) -> None:
    now = [0.0]

    def tick() -> None:
        now[0] += 0.5

    probe = Probe(os.getpid(), admin(dripping(tick)).url, deadline_seconds=5, monotonic_seconds=lambda: now[0])
    assert probe.look().connections is None
    assert probe.admin_trouble == "listed: no whole answer within 5 s"


@pytest.mark.parametrize(
    "url", ["https://127.0.0.1", "127.0.0.1:80", "http://", "http://a:b@c/", "http://a/?b", "http://a:x"]
)
def test_another_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        Probe(os.getpid(), url)


def test_a_token_is_one_word() -> None:
    with pytest.raises(ValueError, match="visible ASCII"):
        Probe(os.getpid(), "http://127.0.0.1:1", admin_token="a\r\nB: c")


def test_without_its_parser_metrics_are_not_told(admin, monkeypatch: pytest.MonkeyPatch) -> None:
    """``prometheus_client`` comes with the extra ``soak``."""
    monkeypatch.setitem(sys.modules, "prometheus_client.parser", None)
    probe = Probe(os.getpid(), admin(well).url)
    figures = probe.look()
    assert (figures.ledger_bytes, figures.connections) == (None, 6)
    assert "prometheus_client" in (probe.admin_trouble or "")


def test_the_collector_and_tracemalloc_are_told_where_the_server_tells_of_them(admin) -> None:
    more = (
        b"# TYPE python_gc_objects_collected_total counter\n"
        b'python_gc_objects_collected_total{generation="0"} 5.0\n'
        b'python_gc_objects_collected_total{generation="2"} 2.0\n'
        b"# TYPE python_gc_objects_collected_created gauge\npython_gc_objects_collected_created 1.7e9\n"
        b"# TYPE hardhttp_traced_bytes gauge\nhardhttp_traced_bytes 4096.0\n"
    )
    figures = Probe(os.getpid(), admin(answers(b"200 OK", METRICS + more)).url).look()
    assert (figures.collected, figures.traced_bytes) == (7, 4096)
    figures = Probe(os.getpid(), admin(answers(b"200 OK", METRICS)).url).look()
    assert figures.collected is figures.traced_bytes is None
