"""Errors: what users of ``twisted.web.client`` look for in them, and that nothing of them waits for the collector."""

from __future__ import annotations

import copy
import gc
import pickle
import weakref
from typing import Any

import pytest
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.error import ConnectionDone, TimeoutError
from twisted.logger import globalLogPublisher
from twisted.python.failure import Failure
from twisted.web._newclient import ParseError
from twisted.web.client import readBody
from twisted.web.http import _DataLoss

from hardhttp.client import (
    CircuitOpenError,
    ClientReason,
    DecodingAgent,
    Ending,
    EndReason,
    EventSourceError,
    NoResponse,
    Proxy,
    TunnelError,
)
from tests.client.rig import Body, ClientRig
from tests.client.rig2 import Rig2

BEGUN = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_a_body_that_is_cut_says_that_data_was_lost() -> None:
    """Scrapy's ``DOWNLOAD_FAIL_ON_DATALOSS`` and others find it among the reasons, and the response with it."""
    with ClientRig() as rig:
        asked = rig.ask()
        rig.servers[0].send(BEGUN)
        rig.servers[0].lose()
        assert asked.body is not None
        assert asked.body.end is not None
        error = asked.body.end.value
        assert [reason.type for reason in error.reasons] == [ConnectionDone, _DataLoss]
        assert error.response is asked.response


def test_there_is_always_a_reason() -> None:
    """Twisted promises one or more, so users read ``reasons[0]``."""
    with ClientRig(first_byte_seconds=5, unread_seconds=5) as rig:
        bad, silent, unread = (rig.ask(uri=b"http://%b.example/" % name, take=False) for name in (b"a", b"b", b"c"))
        rig.servers[0].send(b"no HTTP")
        rig.servers[2].send(BEGUN)
        rig.advance(5)
        unread.response.deliverBody(body := Body())
        assert body.end is not None
        for error, kind in ((bad.error, ParseError), (silent.error, TimeoutError), (body.end.value, TimeoutError)):
            assert error.reasons[0].check(kind)


@pytest.mark.parametrize("decoded", [False, True])
@pytest.mark.parametrize("spoken", [b"http/1.1", b"h2"])
def test_read_body_can_be_cancelled(spoken: bytes, decoded: bool) -> None:
    """It fails as one that is cancelled, once; so ``addTimeout`` makes ``TimeoutError`` of it."""
    with Rig2(choosing=spoken) as rig:
        head = {"content-encoding": "gzip"} if decoded else {}
        asked: Any = DecodingAgent(rig.agent) if decoded else rig.agent
        answered = asked.request(b"GET", b"https://a.example/")
        server = rig.servers[0]
        rig.shake(server)
        if spoken == b"h2":
            server.hear()
            server.head(1, 200, *((name.encode(), value.encode()) for name, value in head.items()))
        else:
            server.send(b"HTTP/1.1 200 OK\r\n%bContent-Length: 9\r\n\r\n" % (b"Content-Encoding: gzip\r\n" * decoded))
        logged: list[Any] = []
        globalLogPublisher.addObserver(logged.append)
        try:
            ends: list[Any] = []
            readBody(answered.result).addTimeout(5, rig.clock).addErrback(ends.append)
            rig.advance(5)
        finally:
            globalLogPublisher.removeObserver(logged.append)
        assert [end.type for end in ends] == [TimedOut]
        assert logged == []


@pytest.mark.parametrize("end", ["unread", "broken", "cut", "closed"])
def test_a_body_that_nobody_asks_for_is_no_circle(end: str) -> None:
    with ClientRig(unread_seconds=5) as rig:
        asked = rig.ask(take=False)
        rig.servers[0].send(BEGUN if end != "broken" else CHUNKED + b"no size\r\n")
        if end == "unread":
            rig.advance(5)
        elif end == "cut":
            rig.servers[0].lose()
        elif end == "closed":
            rig.agent.close()
        rig.turn()
        response = weakref.ref(asked.response)
        gc.disable()
        try:
            del asked
            assert response() is None
        finally:
            gc.enable()


@pytest.mark.parametrize(
    "error",
    [
        NoResponse(ClientReason.NO_RESPONSE, "none", [Failure(ConnectionDone())], object(), sent=True),
        TunnelError(ClientReason.PROXY_REFUSED, Proxy.parse("http://a.example:1"), "no"),
        CircuitOpenError("http://a.example", 1.5),
        EventSourceError(Ending(EndReason.CLOSED, "by us")),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_error_can_be_copied_and_told_to_another_process(error: Exception) -> None:
    """A pool of processes hangs, or dies, of an exception that cannot be read back."""
    said = {name: value for name, value in vars(error).items() if name not in ("response", "_reasons")}
    for same in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(same) is type(error)
        assert str(same) == str(error)
        assert {name: vars(same)[name] for name in said} == said
        assert getattr(same, "response", None) is None
