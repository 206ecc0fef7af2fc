"""Files that root makes for the user of ``--uid``; they can only be seen by root."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hardhttp.tap.ownedfiles import make_owned
from tests.restart_load import Connection
from tests.twistd_process import ENVIRONMENT, PATIENCE_SECONDS, ROOT, TWISTD, Logged

USER = 65534
KEY = "a key of no less than two hundred and fifty-six bits"


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(scope="module")
def runnable() -> None:
    """That user may run this Python and the program: both may lie in a directory that is root's alone."""
    words = [sys.executable, "-c", "import hardhttp.tap"]
    try:
        whose: dict[str, Any] = {"user": USER, "group": USER, "extra_groups": []}
        subprocess.run(words, **whose, cwd="/", env=ENVIRONMENT, check=True, capture_output=True)
    except (PermissionError, subprocess.CalledProcessError):
        pytest.skip(f"no other user can run {sys.executable} and {ROOT}")


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory that the user has and gets to, which pytest's are not."""
    path = Path(tempfile.mkdtemp())
    os.chown(path, USER, -1)
    yield path
    shutil.rmtree(path)


@as_root
def test_it_is_the_users(place: Path) -> None:
    make_owned(str(place / "log"), 0o640, {"uid": USER})
    made = (place / "log").stat()
    assert (made.st_uid, made.st_mode & 0o777, made.st_size) == (USER, 0o640, 0)


@as_root
def test_what_is_there_is_let_be_and_links_are_not_followed(place: Path) -> None:
    (place / "log").write_text("kept")
    (place / "link").symlink_to(place / "elsewhere")
    for name in ("log", "link", "none/log"):
        make_owned(str(place / name), 0o640, {"uid": USER})
    assert ((place / "log").read_text(), (place / "log").stat().st_uid) == ("kept", 0)
    assert not (place / "elsewhere").exists()


def test_without_another_user_nothing_is_made(tmp_path: Path) -> None:
    for twistd in (None, {}, {"uid": None}):
        make_owned(str(tmp_path / "log"), 0o640, twistd)
    assert not (tmp_path / "log").exists()


def ends_when(over: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not over():
        assert time.monotonic() < deadline
        time.sleep(0.01)


class AnotherUsers(Logged):
    def __init__(self, place: Path, *options: str) -> None:
        self.log = place / "server.log"
        words = ["-n", "--pidfile=", "--uid=nobody", f"--logfile={self.log}", "hardhttp", "--admin=none"]
        words += ["--listen=tcp:0:interface=127.0.0.1", f"--access-log={place}/access.log", *options]
        environment = {**ENVIRONMENT, "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen([*TWISTD, *words], cwd=place, env=environment)
        ends_when(self.log.exists)


@as_root
@pytest.mark.slow
@pytest.mark.usefixtures("runnable")
def test_a_server_of_another_user_is_succeeded_and_its_logs_begin_anew(place: Path) -> None:
    server = AnotherUsers(place, f"--mercure-publisher-key={KEY}", "--anonymous", f"--history=sqlite:{place}/events.db")
    try:
        port = int(server.wait_for(r"listening: http://127.0.0.1:(\d+)/")[1])
        server.process.send_signal(signal.SIGHUP)
        server.wait_for("SIGHUP: there is no file of --config")
        assert "cannot be written" not in server.log.read_text()
        server.process.send_signal(signal.SIGUSR2)
        successor = int(server.wait_for(r"a successor, process (\d+), is ready")[1])
        server.process.wait(PATIENCE_SECONDS)
        client = Connection(port)
        assert client.ask("GET", "/none")[0] == 404
        client.close()
        os.kill(successor, signal.SIGUSR1)
        ends_when(lambda: (place / "server.log.1").exists())
        os.kill(successor, signal.SIGTERM)
        ends_when(lambda: "Server Shut Down" in server.log.read_text())
        assert {each.stat().st_uid for each in place.iterdir()} == {USER}
    finally:
        server.process.kill()


@as_root
@pytest.mark.slow
@pytest.mark.usefixtures("runnable")
def test_workers_of_another_user_write_the_access_log(place: Path) -> None:
    server = AnotherUsers(place, "--workers=1")
    try:
        server.wait_for("worker 1 is ready")
        client = Connection(int(server.wait_for(r"http://127\.0\.0\.1:(\d+)/")[1]))
        assert client.ask("GET", "/none")[0] == 404
        client.close()
        ends_when(lambda: '"GET /none' in (place / "access.log").read_text())
        assert (place / "access.log").stat().st_uid == USER
    finally:
        server.process.terminate()
        server.process.wait(PATIENCE_SECONDS)
