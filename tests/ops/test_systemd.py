"""What systemd is told: over real datagram sockets."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from hardhttp.ops.systemd import Notifier, Watchdog, forget, watchdog_seconds


class Manager:
    """systemd's end of the socket."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind(address)

    def heard(self) -> list[dict[str, str]]:
        messages = []
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return messages
            messages.append(dict(line.split("=", 1) for line in text.split("\n")))


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Manager, Notifier]]:
    path = str(tmp_path / "notify") if request.param == "path" else f"@hardhttp-test-{os.getpid()}"
    manager = Manager(path.replace("@", "\0"))
    yield manager, Notifier(path, monotonic=lambda: 12.3456789)
    manager.socket.close()


def test_each_state_is_one_datagram(manager: tuple[Manager, Notifier]) -> None:
    systemd, notifier = manager
    notifier.ready("serving")
    notifier.reloading()
    notifier.status("7 connections")
    notifier.alive()
    notifier.stopping("draining")
    assert systemd.heard() == [
        {"READY": "1", "STATUS": "serving"},
        {"RELOADING": "1", "MONOTONIC_USEC": "12345678", "STATUS": "reloading"},
        {"STATUS": "7 connections"},
        {"WATCHDOG": "1"},
        {"STOPPING": "1", "STATUS": "draining"},
    ]


def test_who_is_succeeded_says_no_more(manager: tuple[Manager, Notifier]) -> None:
    """Else the successor's service would be taken to be stopping."""
    systemd, notifier = manager
    notifier.succeeded_by(4711)
    notifier.alive()
    notifier.stopping("draining")
    assert systemd.heard() == [{"MAINPID": "4711", "WATCHDOG": "1"}]


def test_nobody_is_told_where_nobody_listens(tmp_path: Path) -> None:
    said: list[str] = []

    def observe(event: dict[str, str]) -> None:
        said.append(event["log_format"].format(**event))

    globalLogPublisher.addObserver(observe)
    try:
        Notifier.from_environment({}).ready("serving")
        Notifier.from_environment({"NOTIFY_SOCKET": ""}).ready("serving")
        assert said == []
        Notifier.from_environment({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready("serving")
        assert said == ["systemd cannot be told READY: No such file or directory"]
    finally:
        globalLogPublisher.removeObserver(observe)


def test_a_manager_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    systemd = Manager(str(tmp_path / "notify"))
    notifier = Notifier(str(tmp_path / "notify"))
    for _ in range(1000):
        notifier.alive()
    assert 0 < len(systemd.heard()) < 1000
    systemd.socket.close()


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "7"}, 30.0),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "8"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "-1"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({"WATCHDOG_USEC": ""}, None),
    ],
)
def test_the_watchdogs_time(environ: dict[str, str], seconds: float | None) -> None:
    assert watchdog_seconds(environ, 7) == seconds


def test_the_watchdog_hears_twice_in_its_time(manager: tuple[Manager, Notifier]) -> None:
    systemd, notifier = manager
    clock = Clock()
    watchdog = Watchdog(notifier, 10.0, clock)
    watchdog.start()
    watchdog.start()
    assert len(systemd.heard()) == 1
    clock.advance(4.9)
    assert systemd.heard() == []
    clock.advance(0.1)
    assert systemd.heard() == [{"WATCHDOG": "1"}]
    watchdog.stop()
    watchdog.stop()
    clock.advance(60)
    assert systemd.heard() == []
    assert clock.getDelayedCalls() == []


def test_without_a_watchdog_there_is_no_timer() -> None:
    clock = Clock()
    watchdog = Watchdog(Notifier(None), None, clock)
    watchdog.start()
    assert clock.getDelayedCalls() == []
    watchdog.stop()


def test_children_are_not_the_service() -> None:
    environ = {"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    forget(environ)
    assert environ == {"HOME": "/"}
