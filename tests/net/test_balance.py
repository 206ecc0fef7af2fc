"""Processes that share a socket: who takes the next connection."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock

from hardhttp.net.balance import REST_SECONDS, SLACK, SLACK_SHARE, TAKEN_AFTER_REST, Balance, Board
from hardhttp.net.port import EagerPort


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board()
    yield made
    made.close()


def test_nobody_is_waited_for_who_is_not_there(board: Board) -> None:
    assert board.fewest() is None
    assert Balance(board, 0, lambda: 10_000).allowance() > 0


@pytest.mark.parametrize("fewest", [0, 1, SLACK * SLACK_SHARE, 800])
def test_at_the_slack_and_one_past_it(board: Board, fewest: int) -> None:
    board.write(1, fewest)
    slack = max(SLACK, fewest // SLACK_SHARE)
    own = [fewest + slack]
    balance = Balance(board, 0, lambda: own[0])
    assert balance.allowance() == 1
    own[0] += 1
    assert balance.allowance() == 0
    assert Balance(board, 1, lambda: fewest).allowance() > 0


def test_who_is_wiped_off_is_not_waited_for(board: Board) -> None:
    board.write(1, 0)
    balance = Balance(board, 0, lambda: 100)
    assert balance.allowance() < 0
    board.wipe(1)
    assert balance.allowance() > 0


def test_another_process_sees_the_same(board: Board) -> None:
    other = Board(os.dup(board.fileno))
    other.write(3, 7)
    assert board.fewest() == 7
    other.close()


def test_where_the_system_has_no_files_in_memory_one_without_a_name_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "memfd_create", raising=False)
    made = Board()
    other = Board(os.dup(made.fileno), places=2)
    made.write(1, 3)
    made.write(2, 1)
    assert (made.fewest(), other.fewest()) == (1, 3)
    made.close()
    other.close()


class Accepted(Protocol):
    def connectionMade(self) -> None:
        self.factory.made.append(self)  # type: ignore[union-attr]


class Turns(Clock):
    """A reactor of one port: it reads or it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        self.readers.discard(reader)

    removeWriter = addWriter = lambda self, each: None


def test_a_port_leaves_connections_to_others_for_a_moment(board: Board) -> None:
    turns, factory = Turns(), Factory.forProtocol(Accepted)
    factory.made = []  # type: ignore[attr-defined]
    made: list[Any] = factory.made  # type: ignore[attr-defined]
    port = EagerPort(0, factory, 50, "127.0.0.1", turns)
    port.startListening()
    port._poller.end()
    port._poller = turns
    board.write(1, 0)
    port.balance = Balance(board, 0, lambda: len(made))
    address = port.socket.getsockname()
    clients = [socket.create_connection(address) for _ in range(SLACK + TAKEN_AFTER_REST + 3)]

    port.doRead()
    assert len(made) == SLACK + 1
    port.doRead()
    assert len(made) == SLACK + 1
    assert port not in turns.readers
    turns.advance(REST_SECONDS)
    assert len(made) == SLACK + 1 + TAKEN_AFTER_REST, "nobody has taken them"
    assert port in turns.readers

    port.doRead()
    assert port not in turns.readers
    board.write(1, 100)
    turns.advance(REST_SECONDS)
    port.doRead()
    assert len(made) == len(clients)
    assert port in turns.readers

    board.write(1, 0)
    port.doRead()
    assert port not in turns.readers
    port.stopListening()
    for each in made:
        each.transport.abortConnection()
    turns.advance(REST_SECONDS)
    assert turns.getDelayedCalls() == []
    for client in clients:
        client.close()
