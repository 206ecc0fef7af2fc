"""``--admin`` and ``--admin-token``, and the process they make: ports taken, sockets, the order of stopping."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import treq
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher
from twisted.python.usage import UsageError

from hardhttp.tap import makeService
from hardhttp.tap.admin import AdminSettings, _is_private
from hardhttp.tap.options import Options

TOKEN = "sesame-sesame-sesame"


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    monkeypatch.chdir(tmp_path)
    lines: list[str] = []

    def keep(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(keep)
    yield lines
    globalLogPublisher.removeObserver(keep)


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(["--max-connections=100", "--listen=tcp:0:interface=127.0.0.1", *words])
    return options


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    return str(caught.value)


def test_what_is_asked_for() -> None:
    assert parse().admin == AdminSettings("tcp:8081:interface=127.0.0.1", False, None)
    assert parse("--admin=none").admin == AdminSettings(None, True, None)
    assert parse("--admin=tcp:9:interface=127.0.0.1").admin.required
    assert parse("--admin=tcp:8081:interface=127.0.0.1").admin.required
    assert parse("--admin=unix:a.sock").admin.endpoint == "unix:a.sock:mode=600"
    assert parse("--admin=unix:a.sock:mode=660").admin.endpoint == "unix:a.sock:mode=660"


def test_a_token_may_stand_elsewhere_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", TOKEN)
    Path("token.txt").write_text(TOKEN + "\n")
    for text in (TOKEN, "env:TOKEN", "file:token.txt"):
        settings = parse("--admin=tcp:9", f"--admin-token={text}").admin
        assert settings.token == TOKEN
        assert TOKEN not in repr(settings)


@pytest.mark.parametrize(
    ("words", "words_said"),
    [
        (("--admin=tcp:9",), "--admin 'tcp:9': others could reach it; give --admin-token too"),
        (("--admin=tcp:9:interface=0.0.0.0",), "others could reach it"),
        (("--admin=tcp:9:interface=example.com",), "others could reach it"),
        (("--admin=nonsense",), "--admin 'nonsense': "),
        (("--admin-token=short",), "--admin-token must be at least 16"),
        (("--admin-token=" + "a" * 15,), "--admin-token must be at least 16"),
        (("--admin-token=a b c d e f g h i j k",), "without blanks"),
        (("--admin-token=env:NONE",), "there is no NONE in the environment"),
        (("--log-format=xml",), "--log-format is xml; it must be one of text, json"),
        (("--log-level=loud",), "--log-level is loud; it must be one of debug, info"),
    ],
)
def test_what_makes_no_sense(words: tuple[str, ...], words_said: str) -> None:
    assert words_said in refusal(*words)


@pytest.mark.parametrize(
    ("text", "private"),
    [
        ("tcp:1:interface=127.0.0.1", True),
        ("tcp:1:interface=127.8.9.1:backlog=5", True),
        (r"tcp6:1:interface=\:\:1", True),
        ("tcp:1:interface=localhost", True),
        ("unix:/run/a", True),
        ("tcp:1", False),
        (r"tcp6:1:interface=\:\:", False),
        ("systemd:domain=INET:index=0", False),
    ],
)
def test_what_only_this_machine_reaches(text: str, private: bool) -> None:
    assert _is_private(text) is private


def test_an_endpoint_that_could_not_be_had(tmp_path: Path) -> None:
    port = "tcp:9:interface=127.0.0.1"
    assert refusal(f"--listen={port}", f"--listen={port}") == (
        f"--listen {port!r} is listened on already, by another --listen"
    )
    assert refusal(f"--listen={port}", f"--admin={port}").startswith(f"--admin {port!r} is listened on already")
    for option in ("listen", "admin"):
        where = f"unix:{tmp_path}/none/a.sock"
        assert refusal(f"--{option}={where}") == f"--{option} {where!r}: there is no directory {tmp_path}/none"
        parse(f"--{option}=unix:{tmp_path}/a.sock:mode=600")
    odd = tmp_path / "a:b"
    odd.mkdir()
    parse(rf"--listen=unix:{tmp_path}/a\:b/a.sock")


class Started:
    def __init__(self, *words: str) -> None:
        self.service: Any = makeService(parse(*words))
        self.quits: list[str] = []
        self.service._quits = lambda message, running: self.quits.append(message)

    def start(self) -> None:
        self.service.startService()

    @property
    def port(self) -> int:
        return int(self.service.admin.ports[0].getHost().port)

    async def stop(self) -> None:
        await maybeDeferred(self.service.stopService)


@pytest_twisted.ensureDeferred
async def test_it_serves_and_stops_last(said: list[str]) -> None:
    started = Started("--admin=tcp:0:interface=127.0.0.1", f"--admin-token={TOKEN}")
    started.start()
    url = f"http://127.0.0.1:{started.port}"
    assert (await treq.get(f"{url}/metrics", persistent=False)).code == 401
    answer = await treq.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, persistent=False)
    assert b"hardhttp_info" in await answer.content()
    assert (await treq.get(f"{url}/readyz", persistent=False)).code == 200
    assert started.service.admin.stalls._thread is not None
    await started.stop()
    assert started.service.admin.ports == []
    assert started.service.admin.stalls._thread is None
    assert TOKEN not in "".join(said)


@pytest_twisted.ensureDeferred
async def test_where_it_is_on_a_unix_socket(said: list[str], tmp_path: Path) -> None:
    started = Started(f"--admin=unix:{tmp_path}/admin")
    started.start()
    assert f"the admin side is at {tmp_path}/admin" in said
    await started.stop()


@pytest_twisted.ensureDeferred
async def test_the_dashboard_is_live_and_stops_with_it() -> None:
    started = Started("--admin=tcp:0:interface=127.0.0.1")
    started.start()
    url = f"http://127.0.0.1:{started.port}"
    assert b"dashboard.js" in await treq.content(await treq.get(f"{url}/", persistent=False))
    answer = await treq.get(f"{url}/events", persistent=False)
    seen: list[bytes] = []
    live: Deferred[None] = Deferred()

    def take(data: bytes) -> None:
        seen.append(data)
        if b'"phases"' in b"".join(seen) and not live.called:
            live.callback(None)

    ended = treq.collect(answer, take)
    await live
    await started.stop()
    await ended
    assert b"retry: " in b"".join(seen)  # told to come back: the stream was drained, not cut


@pytest_twisted.ensureDeferred
async def test_a_default_port_that_is_taken_is_gone_without(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        where = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        options = parse(f"--admin={where}")
        options.admin = AdminSettings(where, False, None)
        started = Started("--admin=none")
        started.service = makeService(options)
        started.start()
        (line,) = [line for line in said if "there is no admin side" in line]
        assert "--admin none says that none is needed" in line
        assert started.service.ports != []
        await started.stop()


@pytest_twisted.ensureDeferred
async def test_one_that_was_asked_for_must_be_had(said: list[str]) -> None:
    from twisted.internet import reactor

    with socket.create_server(("127.0.0.1", 0)) as taken:
        started = Started(f"--admin=tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
        started.start()
        while not started.quits:
            await deferLater(reactor, 0.01)
        (why,) = started.quits
        assert why.startswith("hardhttp cannot start: ")
        assert started.service.ports == []  # what was open is closed
        await started.stop()


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_is_its_owners(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    started = Started(f"--admin=unix:{path}")
    started.start()
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    await started.stop()
    assert not path.exists()


@pytest_twisted.ensureDeferred
async def test_none(said: list[str]) -> None:
    started = Started("--admin=none")
    started.start()
    assert started.service.admin.ports == []
    await started.stop()
