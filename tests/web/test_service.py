"""Listening, draining and starting again."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from typing import Any

import pytest
from pytest_twisted import ensureDeferred
from twisted.application.service import Application, IService, IServiceCollection
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web import server
from twisted.web.resource import Resource

from hardhttp import EventStream, HTTPService, Limits, Site, service
from tests.listening import listens
from tests.web.saying import Says

LOOPBACK = "tcp:0:interface=127.0.0.1"


def port_of(running: HTTPService) -> int:
    return int(running.ports[0].getHost().port)


def get(port: int, path: str = "/", **headers: str) -> http.client.HTTPResponse:
    """A response, its body read, its connection closed."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    client.request("GET", path, headers=headers)
    response = client.getresponse()
    response.body = response.read()  # type: ignore[attr-defined]
    client.close()
    return response


async def until(condition: Callable[[], Any]) -> None:
    for _ in range(2000):
        if condition():
            return
        await deferLater(reactor, 0.005)
    raise AssertionError("it did not come about")


def tree() -> tuple[Resource, EventStream]:
    def count(request: Any) -> bytes:
        session = request.getSession()
        session.visits = getattr(session, "visits", 0) + 1
        return b"%d" % session.visits

    stream = EventStream(reactor)
    root = Resource()
    root.putChild(b"count", Says(count))
    root.putChild(b"events", stream)
    return root, stream


@ensureDeferred
async def test_v12_stopped_and_started_it_serves_as_before() -> None:
    """Routes, event stream and sessions are as they were; on another port, or the same."""
    root, stream = tree()
    site = Site(root, reactor=reactor)
    running = service(site, LOOPBACK, reactor=reactor)
    baseline = site.ledger.snapshot()
    cookie = ""
    for visit in range(1, 4):
        ports = await running.startService()
        assert ports == running.ports
        assert running.running
        port = port_of(running)
        assert listens(port)
        response = await deferToThread(get, port, "/count", Cookie=cookie)
        assert response.body == b"%d" % visit  # type: ignore[attr-defined]
        cookie = cookie or response.headers["Set-Cookie"].partition(";")[0]
        listening = deferToThread(get, port, "/events")
        await until(lambda: stream.subscriber_count)
        stream.publish(f"visit {visit}")
        await running.stopService()
        events = (await listening).body  # type: ignore[attr-defined]
        assert b"data: visit %d\n\n" % visit in events
        assert b"retry: " in events
        assert (site.connection_count, stream.subscriber_count, running.ports) == (0, 0, [])
        assert site.ledger.snapshot() == baseline | {"session_objects": 1}
        assert not listens(port)
    for session in list(site.sessions.values()):
        session.expire()


@ensureDeferred
async def test_a_stop_waits_for_what_is_being_answered() -> None:
    waiting: list[Any] = []

    def answer(request: Any) -> Any:
        if request.path == b"/now":
            return b"now"
        waiting.append(request)
        return server.NOT_DONE_YET

    site = Site(Says(answer), reactor=reactor)
    running = service(site, LOOPBACK, reactor=reactor)
    await running.startService()
    idle = socket.create_connection(("127.0.0.1", port_of(running)))
    idle.sendall(b"GET /now HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (await deferToThread(idle.recv, 1000)).endswith(b"now")
    asked = deferToThread(get, port_of(running))
    await until(lambda: waiting and site.connection_count == 2)
    stopped: list[Any] = []
    running.stopService().addBoth(stopped.append)
    await until(lambda: site.connection_count == 1)  # the idle one has gone at once
    assert stopped == []
    waiting[0].write(b"in full")
    waiting[0].finish()
    response = await asked
    assert response.body == b"in full"  # type: ignore[attr-defined]
    assert response.headers["Connection"] == "close"
    await until(lambda: stopped)
    assert stopped == [None]
    assert idle.recv(1) == b""
    idle.close()


@ensureDeferred
async def test_a_stop_waits_no_longer_than_it_may() -> None:
    site = Site(Says(lambda request: Deferred()), reactor=reactor, limits=Limits(drain_seconds=0.2))
    running = service(site, LOOPBACK, reactor=reactor)
    await running.startService()
    client = socket.create_connection(("127.0.0.1", port_of(running)))
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until(lambda: site.ledger.snapshot()["requests"])
    await running.stopService()
    assert site.connection_count == 0
    assert site.statistics.snapshot()["closed_by_reason"] == {"drain-seconds": 1}
    client.close()


@ensureDeferred
async def test_who_waits_to_be_accepted_is_served() -> None:
    """Unless the socket is another process's now: it stays in the queue for that one."""
    site = Site(Says(lambda request: b"in full"), reactor=reactor)
    for ceases in (False, True):
        running = service(site, LOOPBACK, reactor=reactor)
        await running.startService()
        (port,) = running.ports
        if ceases:
            port.cease()  # type: ignore[attr-defined]
            port.startReading()  # type: ignore[attr-defined]  # as after a rest
        with port.given().socket.dup():  # type: ignore[attr-defined]
            clients = [socket.create_connection(("127.0.0.1", port_of(running))) for _ in range(3)]
            for client in clients:
                client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await running.stopService()
            for client in clients:
                client.setblocking(False)
                if ceases:
                    with pytest.raises((BlockingIOError, ConnectionResetError)):
                        client.recv(1000)
                else:
                    assert client.recv(1000).endswith(b"in full")
                client.close()


@ensureDeferred
async def test_a_failure_to_listen_leaves_nothing_listening() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        site = Site(Says(lambda request: b""), reactor=reactor)
        running = service(site, LOOPBACK, f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1", reactor=reactor)
        with pytest.raises(CannotListenError):
            await running.startService()
        assert running.ports == []
        assert not site.server.reaper.running
        await running.stopService()


@ensureDeferred
async def test_who_could_not_listen_may_try_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = service(Site(Resource()), f"tcp:{port}:interface=127.0.0.1", reactor=reactor)
        await running.startService().addErrback(lambda failure: failure.trap(CannotListenError))
        assert running.ports == []
    assert await running.startService() == running.ports != []
    await running.stopService()


@ensureDeferred
async def test_several_endpoints_and_an_application(tmp_path: Any) -> None:
    site = Site(Says(lambda request: b"served"), reactor=reactor)
    running = service(site, LOOPBACK, f"unix:{tmp_path / 'web'}", reactor=reactor)
    application = Application("web")
    running.setServiceParent(application)
    assert IServiceCollection(application).getServiceNamed("hardhttp") is running
    assert IService.providedBy(running)
    whole = IService(application)
    whole.privilegedStartService()
    whole.startService()
    await running.listening
    assert len(running.ports) == 2
    assert (await deferToThread(get, port_of(running))).body == b"served"  # type: ignore[attr-defined]

    def by_unix() -> bytes:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(tmp_path / "web"))
            client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            received = b""
            while data := client.recv(65536):
                received += data
            return received

    assert (await deferToThread(by_unix)).endswith(b"\r\n\r\nserved")
    await whole.stopService()
    assert site.connection_count == 0


def test_the_default_endpoint_is_local() -> None:
    assert service(Site(Says(lambda request: b""), reactor=reactor)).descriptions == ("tcp:8080:interface=127.0.0.1",)
