"""The hub by its options: where it is mounted, and what is said of options that make no sense."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.python.usage import UsageError
from twisted.web.resource import Resource

from hardhttp.tap.options import Options
from hardhttp.testing import Rig

SECRET = "a secret of more than thirty-two bytes, for tests"
KEY = f"--mercure-publisher-key={SECRET}"


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return b"the application at " + request.path


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(["--max-connections=100", *words])
    return options


def test_it_lies_over_whatever_is_served() -> None:
    options = parse(KEY, "--anonymous", "--max-topics=1")
    assert options.mercure is not None
    with Rig(options.around(Page())) as rig:

        def ask(path: str) -> tuple[int, bytes]:
            (response,) = rig.exchange(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            return response.status, response.body

        assert ask("/") == (200, b"the application at /")
        assert ask("/.well-known/acme")[1] == b"the application at /.well-known/acme"
        assert ask("/.well-known/mercure?topic=a&topic=b")[0] == 400
        assert ask("/.well-known/mercure")[0] == 400
        posted = b"POST /.well-known/mercure HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        assert rig.exchange(posted)[0].status == 401


@pytest.mark.parametrize(("connections", "subscribers"), [(100, 90), (9, 8), (2, 1), (1, 1)])
def test_connections_are_left_to_tell_browsers_to_come_again(connections: int, subscribers: int) -> None:
    """Refused at its connection, an EventSource closes for good."""
    options = parse(KEY, "--anonymous", f"--max-connections={connections}")
    assert options.mercure is not None
    assert options.mercure.hub.max_subscribers == subscribers


def test_past_the_cap_a_subscriber_is_told_when_to_come_back() -> None:
    options = parse("--max-connections=2", KEY, "--anonymous")
    assert options.mercure is not None
    subscribe = b"GET /.well-known/mercure?topic=a HTTP/1.1\r\nHost: a\r\nAccept: text/event-stream\r\n\r\n"
    with Rig(options.around(Page())) as rig:
        first, second = rig.connect(), rig.connect()
        first.send(subscribe)
        second.send(subscribe)
        assert b"200 OK" in second.received
        assert b"retry: " in second.received
        assert (first.ended, second.ended) == (False, True)
        assert options.mercure.hub.refused == 1
        first.reset()


def test_without_a_key_there_is_none() -> None:
    assert parse().mercure is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--anonymous"], "--anonymous is for the hub, which --mercure-publisher-key turns on"),
        (["--subscriptions"], "--subscriptions is for the hub"),
        (["--history=sqlite:events.db"], "--history is for the hub"),
        ([KEY], "nobody could subscribe: give --mercure-subscriber-key, or --anonymous"),
        ([KEY, "--mercure-publisher-algorithm=none"], "--mercure-publisher-key: "),
        ([KEY, "--mercure-publisher-algorithm=RS256"], "--mercure-publisher-key: "),
        (["--mercure-publisher-key=env:NO_SUCH_NAME"], "there is no NO_SUCH_NAME in the environment"),
        ([KEY, "--anonymous", "--history=redis:"], "--history is redis:; it must be memory: or sqlite:PATH"),
        ([KEY, "--anonymous", "--max-topics=0"], "--max-topics: 0 is out of bounds; it must be from 1 to 10,000"),
        ([KEY, "--anonymous", "--max-event-bytes=65MiB"], "it must be from 1 to 64MiB"),
        ([KEY, "--anonymous", "--publish-origins=app.example"], "the hub cannot be as asked for"),
    ],
)
def test_what_makes_no_sense_is_said(words: list[str], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)


def test_a_key_from_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "key.txt").write_text(f"{SECRET}\n")
    options = parse("--mercure-subscriber-key=file:key.txt")
    assert options.mercure is not None
    assert SECRET not in repr(vars(options.mercure))


@ensureDeferred
async def test_a_history_in_a_file(tmp_path: Path) -> None:
    options = parse(KEY, "--anonymous", "--history=sqlite:events.db")
    assert options.mercure is not None
    options.mercure.hub.publish("a", "kept")
    await options.mercure.hub.history.close()
    assert b"kept" in b"".join(path.read_bytes() for path in tmp_path.glob("events.db*"))
