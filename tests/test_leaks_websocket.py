"""With the collector off, WebSockets that end in every way leave nothing behind (P1, P5)."""

from __future__ import annotations

import socket

import pytest

from hardhttp.wire.websocket import encode
from tests.test_leaks import Subject, ours, read_all, reset, subject
from tests.web.websocketing import handshake
from tests.wire.framing import CONTINUATION, FIN, TEXT, closing, frame, header

__all__ = ["subject"]

PATHS = (b"/handler", b"/callback")


def opened(subject: Subject, path: bytes, **headers: bytes) -> socket.socket:
    client = subject.connect()
    client.sendall(handshake(path, **headers))
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(4096)
    assert received.startswith(b"HTTP/1.1 101 ")
    return client


def take(client: socket.socket, what: bytes) -> None:
    received = b""
    while what not in received:
        data = client.recv(65536)
        assert data, received
        received += data


# Each opens some, and returns how many they were.


def polite(subject: Subject) -> int:
    for path in PATHS:
        with opened(subject, path) as client:
            client.sendall(frame(TEXT, b"hello") * 3)
            take(client, encode("hello") * 3)
            client.sendall(closing())
            read_all(client)
    return 2


def compressed(subject: Subject) -> int:
    with opened(subject, b"/handler", Sec_WebSocket_Extensions=b"permessage-deflate") as client:
        client.sendall(frame(TEXT, b"hello"))
        client.recv(4096)
        client.sendall(closing())
        read_all(client)
    return 1


def gone(subject: Subject) -> int:
    """At once; while it is served; in the middle of a message; without a Close."""
    for path in PATHS:
        for last in (b"", frame(TEXT, b"wait") + frame(TEXT, b"x") * 5, frame(TEXT - FIN, b"half")):
            client = opened(subject, path)
            client.sendall(last)
            reset(client)
        opened(subject, path).close()
    return 8


def wrong(subject: Subject) -> int:
    for path in PATHS:
        for data in (frame(CONTINUATION), frame(TEXT, b"\xff"), header(TEXT, 100_001), frame(TEXT, b"fail")):
            with opened(subject, path) as client:
                client.sendall(data + closing())
                read_all(client)
    return 8


def closed_by_us(subject: Subject) -> int:
    with opened(subject, b"/callback") as client:
        client.sendall(frame(TEXT, b"close") + closing())
        read_all(client)
    return 1


def subscribed(subject: Subject) -> int:
    with opened(subject, b"/hub?topic=t") as client:
        client.sendall(closing())
        read_all(client)
    reset(opened(subject, b"/hub?topic=t"))
    return 2


def refused(subject: Subject) -> int:
    with subject.connect() as client:
        client.sendall(handshake(b"/handler", Origin=b"https://evil.example", Connection=b"Upgrade, close"))
        assert read_all(client).startswith(b"HTTP/1.1 403 ")
    return 1


def silent(subject: Subject) -> int:
    """They answer neither a ping nor a Close."""
    clients = [opened(subject, path) for path in PATHS] + [opened(subject, b"/callback")]
    clients[-1].sendall(frame(TEXT, b"close"))
    for client in clients:
        read_all(client)
        client.close()
    return 3


PORTRAIT, MAX_PORTRAITS = "hardhttp.sse.journal.Portrait", 1000
KINDS = (polite, compressed, gone, wrong, closed_by_us, subscribed, refused)


def check(subject: Subject, count: int) -> None:
    for kind in KINDS:
        kind(subject)
    empty = dict.fromkeys(subject.ask("look")["ledger"], 0)
    before = subject.settled(empty)
    assert before["ledger"] == empty
    subject.ask("collect")
    made = silent(subject)
    while made < count // 2:
        made += sum(kind(subject) for kind in KINDS)
    middle = subject.settled(empty)
    while made < count:
        made += sum(kind(subject) for kind in KINDS)
    after = subject.settled(empty)
    assert after["ledger"] == empty
    # A hub that can explain remembers the last who ended, within a bound.
    assert after["live"].pop(PORTRAIT) <= MAX_PORTRAITS
    del before["live"][PORTRAIT]
    assert after["live"] == before["live"]
    assert after["descriptors"] == before["descriptors"]
    found = subject.ask("collect")["found"]
    assert not ours(found), found
    growth = after["resident_bytes"] - middle["resident_bytes"]
    assert growth < max(2 << 20, 20 * made), growth
    assert subject.ask("stop") == {"pending": [], "readers": []}


@pytest.mark.slow
def test_v05_nothing_of_a_websocket_is_left_to_the_collector(subject: Subject) -> None:
    check(subject, 200)


@pytest.mark.slow
def test_v05_v17_nothing_is_left_of_10_000_websockets(subject: Subject) -> None:
    check(subject, 10_000)


@pytest.mark.slow
def test_v17_many_at_once_give_everything_back(subject: Subject) -> None:
    empty = dict.fromkeys(subject.ask("look")["ledger"], 0)
    for _ in range(3):
        clients = [opened(subject, PATHS[number % 2]) for number in range(900)]
        assert subject.ask("look")["ledger"]["websockets"] == 900
        for client in clients:
            client.sendall(frame(TEXT, b"x" * 1000))
        for number, client in enumerate(clients):
            if number % 3:
                client.sendall(closing())
                read_all(client)
                client.close()
            else:
                reset(client)
        assert subject.settled(empty)["ledger"] == empty
    assert not ours(subject.ask("collect")["found"])
