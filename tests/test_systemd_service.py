"""``twistd hardhttp`` as a service of systemd: activated by sockets, and heard by a socket that stands for systemd."""

from __future__ import annotations

import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.listening import free_port
from tests.ops.test_systemd import Manager
from tests.restart_load import Connection
from tests.test_restart import LOCAL, Line, is_gone, wait_until
from tests.twistd_process import ENVIRONMENT, PATIENCE_SECONDS, TWISTD, Logged, ended_as_twistd_does

pytestmark = pytest.mark.slow

UNWANTED = (
    r"a socket of 127\.0\.0\.1:{port} was passed to this process, and no option wants it: "
    r"give --listen tcp:{port}:interface=127\.0\.0\.1 \(or --listen systemd: for all such\)"
)


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[Callable[..., Line]]:
    """Starts ``words`` by systemd-socket-activate, at the first connection to one of its sockets."""
    lines: list[Line] = []

    def start(before: list[str], *words: str, **environ: str) -> Line:
        log = Logged()
        log.log = tmp_path / "server.log"
        environ["PYTHONPATH"] = ENVIRONMENT["PYTHONPATH"]
        passed = [f"--setenv={name}={value}" for name, value in environ.items()]
        with log.log.open("wb") as file:
            log.process = subprocess.Popen(
                ["systemd-socket-activate", *before, *passed, *TWISTD, "-n", "--pidfile=", "hardhttp", *words],
                cwd=tmp_path,
                env=ENVIRONMENT,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        # It becomes the server by exec.
        lines.append(Line(log, log.process.pid))
        log.wait_for("Listening on")
        return lines[-1]

    yield start
    for line in lines:
        line.end()
        line.server.process.wait(PATIENCE_SECONDS)


def test_sockets_are_adopted_by_address_by_name_and_as_the_rest(activated, tmp_path: Path) -> None:
    web, named, other, admin = (free_port() for _ in range(4))
    path = tmp_path / "http"
    listening = [f"--listen={LOCAL}:{port}" for port in (web, named, other, admin)]
    line = activated(
        [*listening, f"--listen={path}", "--fdname=web:named:other:admin:unix"],
        f"--listen=tcp:{web}:interface={LOCAL}",
        "--listen=systemd:named",
        f"--listen=unix:{path}:mode=600",
        "--listen=systemd:",
        f"--admin=tcp:{admin}:interface={LOCAL}",
    )
    mode = path.stat().st_mode
    waiting = Connection(web)  # the first one is what it is started for
    assert waiting.ask("GET", "/figures")[0] == 200
    for port in (named, other):
        assert Connection(port).ask("GET", "/figures")[0] == 200
    assert Connection(admin).ask("GET", "/readyz")[0] == 200
    line.restart()
    for port in (web, named, other):
        assert Connection(port).ask("GET", "/figures")[0] == 200
    line.signal(signal.SIGTERM)
    wait_until(lambda: is_gone(line.pid), "it lingers")
    assert path.stat().st_mode == mode


def test_sockets_without_names_are_adopted_too(activated) -> None:
    port = free_port()
    line = activated([f"--listen={LOCAL}:{port}"], f"--listen=tcp:{port}:interface={LOCAL}", "--admin=none")
    assert Connection(port).ask("GET", "/figures")[0] == 200
    assert ended_as_twistd_does(_stop(line))


def _stop(line: Line) -> int:
    line.signal(signal.SIGTERM)
    return line.server.process.wait(PATIENCE_SECONDS)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--listen=tcp:0:interface=127.0.0.1"], UNWANTED),
        (["--listen=systemd:web"], "systemd:web: no such socket was passed to this process"),
    ],
)
def test_what_nobody_wants_or_nobody_passed_is_an_error(activated, words: list[str], why: str) -> None:
    port = free_port()
    line = activated([f"--listen={LOCAL}:{port}", "--fdname=other"], *words, "--admin=none")
    with socket.create_connection((LOCAL, port)):
        line.server.wait_for("hardhttp cannot start: " + why.format(port=port))
        assert line.server.process.wait(PATIENCE_SECONDS) == 1


def test_systemd_is_told_of_every_state(activated, tmp_path: Path) -> None:
    systemd = Manager(str(tmp_path / "notify"))
    heard: list[dict[str, str]] = []
    over = threading.Event()

    def listen() -> None:  # all the time: few datagrams find room in the socket's queue
        while not over.wait(0.01):
            heard.extend(systemd.heard())

    def told(**said: str) -> bool:
        return any(said.items() <= message.items() for message in [*heard])

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        follow(activated, tmp_path, heard, told)
    finally:
        over.set()
        thread.join()
        systemd.socket.close()


def follow(activated: Any, tmp_path: Path, heard: list[dict[str, str]], told: Callable[..., bool]) -> None:

    port = free_port()
    line = activated(
        [f"--listen={LOCAL}:{port}"],
        f"--listen=tcp:{port}:interface={LOCAL}",
        "--admin=none",
        "--access-log=access.log",
        NOTIFY_SOCKET=str(tmp_path / "notify"),
        WATCHDOG_USEC="400000",
    )
    first = Connection(port)
    assert first.ask("GET", "/figures")[0] == 200
    wait_until(lambda: told(READY="1", STATUS="serving"), f"{heard}")
    before = len(heard)
    wait_until(lambda: len([each for each in heard[before:] if "WATCHDOG" in each]) > 2, f"{heard}")
    began = time.monotonic_ns() // 1000
    line.signal(signal.SIGHUP)
    wait_until(lambda: told(RELOADING="1"), f"{heard}")
    reload = next(each for each in heard if "RELOADING" in each)
    assert began <= int(reload["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    wait_until(lambda: [each.get("READY") for each in heard].count("1") == 2, f"{heard}")

    heard.clear()
    old = line.restart()
    wait_until(lambda: told(READY="1"), f"{heard}")
    assert {"MAINPID": str(line.pid), "WATCHDOG": "1"} in heard
    assert heard.index({"MAINPID": str(line.pid), "WATCHDOG": "1"}) < heard.index({"READY": "1", "STATUS": "serving"})
    wait_until(lambda: is_gone(old), "it lingers")
    assert not told(STOPPING="1"), "the service would be taken to be stopping"
    heard.clear()
    wait_until(lambda: told(WATCHDOG="1"), "the successor is not heard")
    line.signal(signal.SIGTERM)
    wait_until(lambda: told(STOPPING="1"), f"{heard}")
