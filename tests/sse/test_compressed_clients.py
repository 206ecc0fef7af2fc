"""Compressed streams in clients that others wrote: each event comes out before the next is sent."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable

import httpx
import httpx_sse
import pytest
import requests
from aiohttp_sse_client2.client import EventSource
from pytest_twisted import ensureDeferred
from twisted.internet import reactor
from twisted.internet.threads import deferToThread

from hardhttp.sse.coding import GzipStream
from hardhttp.sse.hub import EventHub
from hardhttp.wire.eventstream import Parser
from tests.serving import serve
from tests.sse.subscribing import Subscribes, empty

PATIENCE_SECONDS = 10
Told = Callable[[str], None]
TEXTS = ["one", "two " * 200, "äöü €", *(f"text {number}" for number in range(20))]


def curl(url: str, told: Told) -> None:
    command = ["curl", "-sSN", "--compressed", "--max-time", str(PATIENCE_SECONDS), url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None
        parser = Parser()
        while data := running.stdout.read1():
            for event in parser.feed(data):
                told(event.data)
    assert running.returncode == 0  # it has found checksum and length right


def from_requests(url: str, told: Told) -> None:
    with requests.get(url, stream=True, timeout=PATIENCE_SECONDS) as answer:
        parser = Parser()
        for data in answer.iter_content(None):
            for event in parser.feed(data):
                told(event.data)


def from_httpx(url: str, told: Told) -> None:
    with httpx.Client(timeout=PATIENCE_SECONDS) as client, httpx_sse.connect_sse(client, "GET", url) as source:
        for event in source.iter_sse():
            told(event.data)


def from_aiohttp(url: str, told: Told) -> None:
    async def read() -> None:
        async with EventSource(url) as source:
            async for event in source:
                told(event.data)
                if event.data == TEXTS[-1]:
                    return

    asyncio.run(asyncio.wait_for(read(), PATIENCE_SECONDS))


@pytest.mark.parametrize("client", [curl, from_requests, from_httpx, from_aiohttp])
@ensureDeferred
async def test_each_event_comes_out_at_once(client: Callable[[str, Told], None]) -> None:
    hub = EventHub(reactor, retry_seconds=None)
    got: list[str] = []
    async with serve("fast", Subscribes(hub)) as site:
        reading = deferToThread(client, f"{site.url}/", got.append)
        await site.wait_for(lambda: hub.subscriber_count)
        (subscriber,) = hub.subscribers()
        assert isinstance(subscriber._coding, GzipStream)
        for number, text in enumerate(TEXTS):
            hub.publish("t", text)
            await site.wait_for(lambda count=number + 1: len(got) == count, text)  # type: ignore[misc]
        hub.close_all()
        await reading
    assert got == TEXTS
    empty(hub)
