"""Each scenario does to a server in memory what it says, is bounded, and leaves nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

import attrs
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from hardhttp.limits import Limits
from hardhttp.soak import catalogue
from hardhttp.soak.catalogue import CATALOGUE, choose
from hardhttp.soak.scenario import PATHS, Scenario
from tests.soak.memoryserver import OK, MemoryServer, Transport

SOCKET = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n"
# What of the seeds can be seen from outside a server; the rest is about clients, or about its own code.
OUTSIDE = {
    *("V01", "V02", "V03", "V04", "V05", "V06", "V07", "V08", "V09", "V10", "V11", "V13", "V15", "V16", "V17"),
    *("E01", "E02", "E03", "E04", "E05", "E06", "E07", "E08", "C02"),
}
TEN = {"head drip", "body drip", "slow reader", "body cap", "connection cap", "descriptor limit"}


def patient(transport: Transport, data: bytes) -> bytes:
    """Answers whole requests for a page, and waits for the rest of all others."""
    if not data.startswith(b"GET") or b"\r\n\r\n" not in data:
        return b""
    if b"Upgrade: websocket" in data:
        return SOCKET
    if data.startswith(b"GET /events"):
        return STREAM
    return b"" if data.startswith((b"GET /later", b"GET /large")) else OK * data.count(b"\r\n\r\n")


def silent(transport: Transport, data: bytes) -> bytes:
    return b""


# -- all of them -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CATALOGUE)
@pytest.mark.parametrize("answer", [patient, silent], ids=["answered", "unanswered"])
def test_it_is_bounded_and_leaves_nothing(name: str, answer: Callable[[Transport, bytes], bytes]) -> None:
    """Fails without: the end of every wait, the abort of every connection, the bound on clients at once."""
    kind = CATALOGUE[name]
    server = MemoryServer(answer)
    load = server.run(kind(), seconds=2.0, scale=0.1)
    if kind.reaches is None:
        assert server.transports, "it did nothing"
        assert any(transport.sent for transport in server.transports) or name in ("silent", "vanish-at-once")
    assert server.most_open <= max(1, round(kind.connections * 0.1))
    # One for each start; the first is not waited for.
    assert load.opened_count <= kind.per_second * 0.1 * 2.0 + 1
    assert load.open_count == server.open_count == 0
    assert server.reactor.getDelayedCalls() == []


def test_a_server_that_does_not_accept_is_not_waited_for() -> None:
    """Fails without: the end of connections that are not there yet."""
    server = MemoryServer()
    server.accepts = False
    load = server.run(CATALOGUE["churn"](), seconds=1.0)
    assert server.reactor.tcpClients
    assert load.opened_count == 0
    assert server.reactor.getDelayedCalls() == []


@pytest.mark.parametrize("name", CATALOGUE)
def test_it_says_what_it_is(name: str) -> None:
    kind = CATALOGUE[name]
    assert "sound" in (kind.__doc__ or "")
    assert re.fullmatch("[a-z0-9-]+", kind.name)
    assert kind.rows
    for row in kind.rows:
        assert row in OUTSIDE or row.removeprefix("ten: ") in TEN, row
    assert kind.needs <= set(PATHS)
    assert set(kind().answered_by) <= {field.name for field in attrs.fields(Limits)}


def test_every_row_that_can_be_seen_from_outside_has_one() -> None:
    named = {row for kind in CATALOGUE.values() for row in kind.rows}
    assert [row for row in OUTSIDE if row not in named] == []
    assert [row for row in TEN if f"ten: {row}" not in named] == []


class Lurker(Scenario):
    """Asks for nothing. A sound server does nothing."""

    name = "lurker"
    rows = ("V02",)


class Again(Lurker):
    name = "idle"


def test_a_scenario_of_ones_own_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "CATALOGUE", dict(CATALOGUE))
    assert catalogue.load(f"{__name__}:Lurker") == catalogue.load(f"{__name__}:Lurker") == "lurker"
    assert [kind.name for kind in choose(["lurker"])] == ["lurker"]
    for text, says in {
        "no.such:Lurker": "No module named",
        f"{__name__}:Absent": "Absent",
        f"{__name__}:test_every_row_that_can_be_seen_from_outside_has_one": "no subclass",
        f"{__name__}:Again": "another scenario that is called idle",
        ":Lurker": "--scenario :Lurker",
    }.items():
        with pytest.raises(ValueError, match=says):
            catalogue.load(text)


def test_scenarios_are_chosen_by_pattern() -> None:
    assert [kind.name for kind in choose(["drip-*", "idle"])] == ["idle", "drip-head", "drip-body", "drip-chunks"]
    assert len(choose([])) == len(CATALOGUE)
    with pytest.raises(ValueError, match="no scenario is called 'drop'"):
        choose(["drop"])


# -- what single ones do -----------------------------------------------------------------------


def sent(name: str, answer: Callable[[Transport, bytes], bytes | None] = silent, seconds: float = 3.0) -> MemoryServer:
    server = MemoryServer(answer)
    server.load = server.run(CATALOGUE[name](), seconds, scale=0.1)
    return server


@pytest.mark.parametrize(("name", "piece"), [("drip-head", b"x"), ("drip-body", b"x"), ("drip-chunks", b"1\r\nx\r\n")])
def test_a_drip_is_a_drip(name: str, piece: bytes) -> None:
    first = sent(name, seconds=5.0).transports[0]
    assert [data for _, data in first.sent[1:]] == [piece] * (len(first.sent) - 1)
    assert len(first.sent) >= 9
    assert all(0.4 < later - earlier < 0.7 for (earlier, _), (later, _) in pairwise(first.sent[1:]))
    assert first.how == "reset"


def test_a_drip_ends_with_its_answer() -> None:
    server = sent("drip-head", lambda transport, data: None if data == b"x" else b"", seconds=2.0)
    assert server.load.outcomes["closed"] >= len(server.transports) - 5
    assert all(len(transport.sent) <= 2 for transport in server.transports)


@pytest.mark.parametrize("name", ["stopped-reader", "stopped-reader-closing", "pipelined-reader", "subscriber-stops"])
def test_a_stopped_reader_takes_nothing(name: str) -> None:
    for transport in sent(name, patient).transports:
        assert transport.producerState == "paused"


def test_a_stopped_reader_asks_in_both_modes() -> None:
    assert b"Connection: close" not in sent("stopped-reader").transports[0].bytes_sent()
    assert b"Connection: close" in sent("stopped-reader-closing").transports[0].bytes_sent()


@pytest.mark.parametrize(
    ("name", "begins", "whole"),
    [
        ("vanish-at-once", b"", False),
        ("vanish-in-head", b"GET / HTTP/1.1\r\n", False),
        ("vanish-in-body", b"POST /upload HTTP/1.1\r\n", True),
        ("vanish-in-handling", b"GET /later HTTP/1.1\r\n", True),
    ],
)
def test_who_vanishes_does_so_by_reset(name: str, begins: bytes, whole: bool) -> None:
    server = sent(name)
    assert server.load.outcomes["vanished"] > 3
    for transport in server.transports:
        assert transport.how == "reset"
        assert transport.bytes_sent().startswith(begins)
        assert (b"\r\n\r\n" in transport.bytes_sent()) is whole


def test_who_vanishes_in_a_response_has_had_some_of_it() -> None:
    server = sent("vanish-in-response", lambda transport, data: OK[:-1])
    assert server.load.outcomes["vanished"] > 1
    assert {transport.how for transport in server.transports} == {"reset"}


def test_who_half_closes_reads_on() -> None:
    server = sent("half-close", lambda transport, data: OK)
    assert all(transport.half_closed for transport in server.transports)


def test_a_body_of_10_gib_waits_for_its_invitation() -> None:
    server = sent("oversized-length", lambda transport, data: b"HTTP/1.1 100 Continue\r\n\r\n")
    assert set(server.load.outcomes) <= {"invited 10 GiB", "held"}
    assert all(b"Content-Length: 10737418240\r\n" in transport.bytes_sent() for transport in server.transports)
    refused = sent("oversized-length", lambda transport, data: b"HTTP/1.1 413 No\r\nContent-Length: 0\r\n\r\n")
    assert set(refused.load.outcomes) <= {"413", "held"}


def test_chunks_end_when_they_are_refused() -> None:
    """And are bounded when they are not."""
    said = b"HTTP/1.1 413 No\r\nContent-Length: 0\r\nX-Refused: body-bytes\r\n\r\n"
    assert sent("oversized-chunks", lambda transport, data: said).load.outcomes["413 body-bytes"] > 0
    assert all(len(transport.bytes_sent()) < 70 << 20 for transport in sent("oversized-chunks").transports)


def test_bad_heads_are_all_sent() -> None:
    server = sent("bad-heads", lambda transport, data: b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n")
    heads = {transport.bytes_sent() for transport in server.transports}
    assert len(heads) == 11
    assert any(head.count(b"Host:") == 2 for head in heads)
    assert any(b"Content-Length: 3\r\nTransfer-Encoding: chunked" in head for head in heads)


def test_names_are_never_the_same() -> None:
    written = b"".join(transport.bytes_sent() for transport in sent("unique-names", patient).transports)
    names = re.findall(rb"X-Never-(\d+):", written)
    assert len(names) > 10
    assert len(names) == len(set(names))


def test_lookers_come_without_a_cookie() -> None:
    cookie = OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    assert sent("lookers", patient).load.outcomes["no cookie"] > 10
    server = sent("lookers", lambda transport, data: cookie)
    assert server.load.outcomes["a cookie for a looker"] > 10
    assert all(b"Cookie:" not in transport.bytes_sent() for transport in server.transports)
    assert CATALOGUE["lookers"].expectation.strange(server.load.outcomes)


def test_the_storm_comes_at_the_full_second() -> None:
    server = sent("reconnect-storm", patient, seconds=4.0)
    gone = [transport.gone_seconds for transport in server.transports if transport.gone_seconds is not None]
    assert {round(seconds % 1.0, 2) for seconds in gone} <= {0.0, 0.05, 1.0}
    assert len(server.transports) > 40


def test_ranges_overlap() -> None:
    asked = sent("ranges").transports[0].bytes_sent()
    assert asked.count(b",") == 999
    assert b"Range: bytes=0-,1-,2-" in asked


@pytest.mark.parametrize("name", ["endless-fragments"])
def test_fragments_never_end(name: str) -> None:
    for transport in sent(name, patient).transports:
        frames = transport.bytes_sent().partition(b"\r\n\r\n")[2]
        assert frames[0] == 0x02  # the first: binary, and not the last
        assert frames[7] == 0x00  # a continuation, and not the last
        assert len(frames) > 1 << 20


FLOODS = {
    "rapid-reset": b"\x00\x00\x04\x03\x00",
    "made-you-reset": b"\x00\x00\x04\x08\x00\x00\x00\x00\x01\x7f\xff\xff\xff",
    "settings-flood": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 2,
    "ping-flood": b"\x00\x00\x08\x06\x00\x00\x00\x00\x00",
    "continuation-flood": b"\x09\x00\x00\x00\x00\x01",
    "empty-data-flood": b"\x00\x00\x00\x00\x00\x00\x00\x00\x01" * 2,
    "window-games": b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00",
    "stalled-streams": b"\x00\x00\x00\x27",
}


@pytest.mark.parametrize(("name", "piece"), FLOODS.items())
def test_a_flood_is_of_its_frames(name: str, piece: bytes) -> None:
    first = sent(name).transports[0].bytes_sent()
    assert first.startswith(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04")
    assert piece in first


def test_a_flood_ends_with_its_connection() -> None:
    server = sent("ping-flood", lambda transport, data: None)
    assert server.load.outcomes["ended by the server"] > 3


def test_http2_requests_are_requests() -> None:
    """By another's reading of RFC 9113."""
    peer = H2Connection(H2Configuration(client_side=False))
    peer.initiate_connection()
    events = peer.receive_data(sent("stalled-streams").transports[0].bytes_sent())
    asked = [dict(event.headers) for event in events if type(event).__name__ == "RequestReceived"]
    assert len(asked) == 20
    assert asked[0] == {b":method": b"GET", b":scheme": b"http", b":path": b"/large", b":authority": b"127.0.0.1:8080"}


def test_slow_honest_clients_notice_when_they_are_cut() -> None:
    uploads = sent("slow-uploader", lambda transport, data: None, seconds=6.0)
    assert uploads.load.outcomes["cut an honest client"] > 0
    reads = sent("slow-reader", lambda transport, data: None, seconds=6.0)
    assert reads.load.outcomes["cut an honest client"] > 0
    for server, name in ((uploads, "slow-uploader"), (reads, "slow-reader")):
        assert CATALOGUE[name].expectation.strange(server.load.outcomes)
