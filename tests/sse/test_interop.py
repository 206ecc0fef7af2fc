"""Clients that others wrote, against a hub in a process of its own.

Each is there when three events go out, is cut off, misses two, and comes back with the id it had seen last: by itself
where it does that, else as its documentation says. It must have each event once, in order, with its id, its type and
its text.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import httpx_sse
import pytest
import requests
from aiohttp import ClientError
from aiohttp_sse_client2.client import EventSource as AiohttpEventSource

from hardhttp.wire.eventstream import Event, Parser
from tests.sse import node
from tests.sse.interop import Hub, Wire, token, wire_to

pytestmark = pytest.mark.slow  # it starts real processes

PATIENCE_SECONDS = 15
SEEN: list[tuple[str, dict[str, str]]] = [
    ("one", {}),
    ("two\nlines: \n\nmore", {"type": "sold"}),
    ("drei: äöü € \U0001f4da", {"retry": "40"}),
]
MISSED = [("four", {"type": "sold"}), ("five", {"id": "own.id-5"})]

ODD: list[tuple[str, dict[str, str]]] = [
    (text, {})
    for text in (
        "",
        " leading",
        "\ufeffa BOM",
        "a\0b",
        "a\rb\r\nc\n\rd",
        "\u2028\x0b\x0c\x1c\x85",
        "data: x",
        ":x",
        "\n",
        "end\r",
    )
]


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    with Hub(tmp_path_factory.mktemp("hub")) as hub:
        yield hub


@pytest.fixture
def wire(hub: Hub) -> Iterator[Wire]:
    with wire_to(hub.port) as wire:
        yield wire


@pytest.fixture
def topic(request: pytest.FixtureRequest) -> str:
    return f"https://example.com/{request.node.name}"


def publish(hub: Hub, topic: str, updates: list[tuple[str, dict[str, str]]]) -> list[Event]:
    """What a client is to have of them."""
    return [
        Event(fields.get("type", "message"), data, hub.publish(topic, data, **fields), retry(fields))
        for data, fields in updates
    ]


def retry(fields: dict[str, str]) -> int | None:
    return int(fields["retry"]) if "retry" in fields else None


def as_sent(events: list[Event]) -> list[Event]:
    """Of each line's end a stream makes LF."""
    return [Event(each.type, "\n".join(re.split("\r\n|\r|\n", each.data)), each.id, each.retry_ms) for each in events]


def without_retry(events: list[Event]) -> list[Event]:
    """As clients have them that keep it to themselves."""
    return [Event(event.type, event.data, event.id) for event in events]


# -- curl --------------------------------------------------------------------------------------


class Curl:
    """``curl -N``, and the events of its output as they come."""

    def __init__(self, url: str, *options: str) -> None:
        program = shutil.which("curl")
        if program is None:
            pytest.fail("needs curl")
        command = [program, "-sSN", "-m", str(PATIENCE_SECONDS), *options, url]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE)
        self._parser = Parser()
        self.events: list[Event] = []

    def __enter__(self) -> Curl:
        assert self._read() == b":"  # the hub greets whoever is subscribed
        return self

    def _read(self) -> bytes:
        assert self._process.stdout is not None
        piece = self._process.stdout.read1(65536)  # type: ignore[attr-defined]
        self.events += self._parser.feed(piece)
        return bytes(piece[:1])

    def take(self, count: int) -> list[Event]:
        """The first ``count`` events."""
        while len(self.events) < count and self._read():
            pass
        return self.events[:count]

    def __exit__(self, *raised: Any) -> None:
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()


def test_curl(hub: Hub, wire: Wire, topic: str) -> None:
    with Curl(hub.asked(topic, port=wire.port)) as curl:
        seen = publish(hub, topic, SEEN)
        assert curl.take(3) == seen
        wire.cut()
        assert curl.take(4) == seen
    missed = publish(hub, topic, MISSED)
    with Curl(hub.asked(topic), "-H", f"Last-Event-ID: {seen[-1].id}") as curl:
        assert curl.take(2) == missed
    with Curl(hub.asked(topic[:-1] + "{last}", lastEventID="earliest")) as curl:
        assert curl.take(5) == seen + missed


def test_an_id_of_a_publishers_own_in_any_letters(hub: Hub, topic: str) -> None:
    """As in ``format-field-id-2`` of web-platform-tests: an id comes back in UTF-8."""
    seen = publish(hub, topic, [("hello", {"id": "\u2026"})])
    missed = publish(hub, topic, [("again", {})])
    with Curl(hub.asked(topic), "-H", "Last-Event-ID: \u2026") as curl:
        assert curl.take(1) == missed
    with Curl(hub.asked(topic, lastEventID="\u2026")) as curl:
        assert curl.take(1) == missed
    with Curl(hub.asked(topic, lastEventID="earliest")) as curl:
        assert curl.take(2) == seen + missed


def test_odd_texts(hub: Hub, topic: str) -> None:
    with Curl(hub.asked(topic)) as curl:
        expected = as_sent(publish(hub, topic, ODD))
        assert curl.take(len(ODD)) == expected


def test_private_events_reach_who_may_have_them(hub: Hub, topic: str) -> None:
    bearer = f"Authorization: Bearer {token(subscribe=[topic])}"
    with Curl(hub.asked(topic)) as anonymous, Curl(hub.asked(topic), "-H", bearer) as known:
        events = publish(hub, topic, [("secret", {"private": "on"}), ("open", {})])
        assert known.take(2) == events
        assert anonymous.take(1) == events[1:]


def test_a_stream_stays_open_while_others_are_cut(hub: Hub, wire: Wire, topic: str) -> None:
    """An RST on one connection is that one's alone."""
    with Curl(hub.asked(topic)) as stays:
        gone = [Curl(hub.asked(topic, port=wire.port)).__enter__() for _ in range(5)]
        assert wire.cut() == wire.connections == 5
        for each in gone:
            assert each.take(1) == []
            each.__exit__()
        still = publish(hub, topic, [("still", {})])
        assert stays.take(1) == still


# -- Python ------------------------------------------------------------------------------------


def test_requests(hub: Hub, wire: Wire, topic: str) -> None:
    def take(count: int, begun: Callable[[], Any], port: int, **headers: str) -> list[Event]:
        headers = {"Accept": "text/event-stream", **headers}
        url = hub.asked(topic, port=port)
        with requests.get(url, headers=headers, stream=True, timeout=PATIENCE_SECONDS) as response:
            response.raise_for_status()
            assert response.encoding == "ISO-8859-1"  # its guess, against which the guide warns
            begun()
            parser = Parser()
            pieces = response.iter_content(None)
            return list(islice((event for piece in pieces for event in parser.feed(piece)), count))

    seen: list[Event] = []
    assert take(3, lambda: seen.extend(publish(hub, topic, SEEN)), wire.port) == seen
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        take(1, wire.cut, wire.port)
    missed = publish(hub, topic, MISSED)
    assert take(2, lambda: None, hub.port, **{"Last-Event-ID": seen[-1].id}) == missed


def test_httpx_sse(hub: Hub, wire: Wire, topic: str) -> None:
    seen: list[Event] = []
    found: list[Event] = []

    def take(client: httpx.Client, count: int, begun: Callable[[], Any], port: int, **headers: str) -> None:
        with httpx_sse.connect_sse(client, "GET", hub.asked(topic, port=port), headers=headers) as source:
            begun()
            # To it a block of ``retry`` alone is an event without data.
            events = (event for event in source.iter_sse() if event.data)
            found.extend(Event(each.event, each.data, each.id, each.retry) for each in islice(events, count))

    with httpx.Client(timeout=PATIENCE_SECONDS) as client:
        take(client, 3, lambda: seen.extend(publish(hub, topic, SEEN)), wire.port)
        assert found == seen
        with pytest.raises(httpx.ReadError):
            take(client, 1, wire.cut, wire.port)
        missed = publish(hub, topic, MISSED)
        take(client, 2, lambda: None, hub.port, **{"Last-Event-ID": found[-1].id})
        assert found == seen + missed


def test_aiohttp_sse_client2(hub: Hub, wire: Wire, topic: str) -> None:
    """It sends the id it has seen last; a reset it leaves to its caller."""
    found: list[Event] = []

    async def take(source: AiohttpEventSource, count: int) -> None:
        for _ in range(count):
            event = await anext(source)
            found.append(Event(event.type or "message", event.data, event.last_event_id))

    async def listen() -> list[Event]:
        url = hub.asked(topic, port=wire.port)
        async with AiohttpEventSource(url, reconnection_time=timedelta(milliseconds=20)) as source:
            expected = await asyncio.to_thread(publish, hub, topic, SEEN)
            await take(source, 3)
            wire.cut()
            with pytest.raises(ClientError):
                await take(source, 1)
            expected += await asyncio.to_thread(publish, hub, topic, MISSED)
            await source.connect()
            await take(source, 2)
            return expected

    expected = asyncio.run(asyncio.wait_for(listen(), PATIENCE_SECONDS))
    assert found == without_retry(expected)
    assert wire.connections == 2


# -- Node.js -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("node")
    node.install(folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("package", node.PACKAGES)
def test_the_npm_package_eventsource(hub: Hub, wire: Wire, topic: str, node_modules: Path, package: str) -> None:
    """It comes back by itself after a reset, with the id it has seen last."""
    with node.listening(node_modules, package, hub.asked(topic, port=wire.port)) as said:
        assert next(said) == "open"
        expected = publish(hub, topic, SEEN)
        found = list(islice(said, 3))
        assert wire.cut() == 1
        expected += publish(hub, topic, MISSED[:1])
        assert next(said) == "open"
        expected += as_sent(publish(hub, topic, [*MISSED[1:], *ODD]))
        found += islice(said, 2 + len(ODD))
    assert found == [[event.type, event.data, event.id] for event in expected]
    assert wire.connections == 2


@pytest.mark.slow
@pytest.mark.parametrize("history", ["sqlite", "memory"])
def test_it_comes_back_to_a_service_that_was_started_again(tmp_path: Path, node_modules: Path, history: str) -> None:
    """By itself, after a polite end (when it is told to) and after kill -9."""
    options = (f"--history=sqlite:{tmp_path / 'events.sqlite'}",) if history == "sqlite" else ()
    with Hub(tmp_path, *options) as hub, node.listening(node_modules, node.PACKAGES[0], hub.asked("a")) as said:
        assert next(said) == "open"
        for how in (signal.SIGTERM, signal.SIGKILL):
            publish(hub, "a", [(f"before {how.name}", {"retry": "1500"})])
            assert next(said)[1] == f"before {how.name}"
            hub.end(how)
            hub.start_again()
            expected = publish(hub, "a", [(f"after {how.name}", {})])
            # It may have come back before that: then it is told of the restart as soon.
            found = [each for each in islice(said, 3 if history == "memory" else 2) if each != "open"]
            if history == "memory":
                assert json.loads(found[0][1])["reason"] == "restart"
            assert found[-1] == ["message", expected[0].data, expected[0].id]
