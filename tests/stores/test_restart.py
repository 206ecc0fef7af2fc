"""A server is killed, or its Redis is, and whoever was signed in still is.

The server is ``examples/persistent_sessions.py``, in a process of its own, over real sockets.
"""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.stores.redis_process import RedisProcess

pytestmark = pytest.mark.slow  # it starts real processes

ROOT = Path(__file__).resolve().parent.parent.parent
EXAMPLE = ROOT / "examples" / "persistent_sessions.py"
PATIENCE_SECONDS = 20.0


class Server:
    def __init__(self, store: str, directory: Path) -> None:
        self._log = (directory / "server.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, str(EXAMPLE), "0"],
            cwd=directory,
            env={
                **os.environ,
                "SESSION_STORE": store,
                "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(ROOT)]),
            },
            stdout=subprocess.PIPE,
            stderr=self._log,
        )
        assert self.process.stdout is not None
        found = re.search(rb":(\d+)/", self.process.stdout.readline())
        assert found is not None, (directory / "server.log").read_text()
        self.port = int(found[1])

    def ask(self, path: str, method: str = "GET", body: str | None = None, cookie: str = "") -> tuple[int, str, str]:
        """The status, the body, and the cookie that was set or else the one that was sent."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        headers = {"Cookie": cookie} if cookie else {}
        if body is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        client.request(method, path, body, headers)
        response = client.getresponse()
        page = response.read().decode()
        client.close()
        return response.status, page, (response.getheader("Set-Cookie") or cookie).partition(";")[0]

    def sign_in(self) -> str:
        status, _, cookie = self.ask("/sign_in", "POST", "name=Ada")
        assert (status, cookie[:8]) == (303, "session=")
        return cookie

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        self._log.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[str], Server]]:
    servers: list[Server] = []

    def new(store: str) -> Server:
        servers.append(Server(store, tmp_path))
        return servers[-1]

    yield new
    for server in servers:
        if server.process.poll() is None:
            server.kill()


def test_killed_with_sqlite(serve: Callable[[str], Server]) -> None:
    server = serve("sqlite:sessions.db")
    assert server.ask("/")[::2] == (200, "")  # looking makes no cookie
    cookie = server.sign_in()
    assert server.ask("/", cookie=cookie)[:2] == (200, "Ada, visit 1\n")
    server.kill()
    server = serve("sqlite:sessions.db")
    assert server.ask("/", cookie=cookie)[:2] == (200, "Ada, visit 2\n")
    assert server.ask("/sign_out", "POST", "", cookie)[0] == 303
    server.kill()
    server = serve("sqlite:sessions.db")
    assert "Sign in" in server.ask("/", cookie=cookie)[1]


def test_two_servers_share_a_file(serve: Callable[[str], Server]) -> None:
    one, two = serve("sqlite:sessions.db"), serve("sqlite:sessions.db")
    cookie = one.sign_in()
    for visit in range(1, 6):
        server = (one, two)[visit % 2]
        assert server.ask("/", cookie=cookie)[:2] == (200, f"Ada, visit {visit}\n")


def test_redis_is_away_and_comes_back(serve: Callable[[str], Server], own_redis: RedisProcess) -> None:
    server = serve(own_redis.url)
    cookie = server.sign_in()
    assert server.ask("/", cookie=cookie)[:2] == (200, "Ada, visit 1\n")
    own_redis.kill()
    assert server.ask("/", cookie=cookie)[0] == 503
    assert server.ask("/sign_in", "POST", "name=Eve")[0] == 503  # it could not be saved, so it does not say so
    assert server.ask("/about")[:2] == (200, "a counter of visits\n")
    assert server.ask("/about", cookie=cookie)[:2] == (200, "a counter of visits\n")
    assert "Sign in" in server.ask("/")[1]  # no cookie, no session, nothing to ask the store
    own_redis.start()
    deadline = time.monotonic() + PATIENCE_SECONDS
    while server.ask("/", cookie=cookie)[0] == 503 and time.monotonic() < deadline:
        time.sleep(0.05)
    status, page, _ = server.ask("/", cookie=cookie)
    assert status == 200
    assert page.startswith("Ada, visit ")
    server.kill()
    assert serve(own_redis.url).ask("/", cookie=cookie)[1].startswith("Ada, visit ")


def test_the_log_says_nothing_of_what_is_kept(
    serve: Callable[[str], Server], own_redis: RedisProcess, tmp_path: Path
) -> None:
    server = serve(own_redis.url)
    cookie = server.sign_in()
    own_redis.kill()
    assert server.ask("/", cookie=cookie)[0] == 503
    server.kill()
    log = (tmp_path / "server.log").read_text()
    for secret in ("Ada", cookie.partition("=")[2]):
        assert secret not in log
