"""The stores, each with what it needs: a file of its own, a redis-server started for these tests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted

from hardhttp.interfaces import ISessionStore
from hardhttp.stores.memory import MemoryStore
from hardhttp.stores.redis import RedisStore
from hardhttp.stores.sqlite import SQLiteStore
from tests.stores.redis_process import RedisProcess

_prefixes = count()


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisProcess]:
    """A Redis for all that does not disturb it."""
    server = RedisProcess(tmp_path_factory.mktemp("redis"), "--appendonly", "no")
    server.start()
    yield server
    server.kill()


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisProcess]:
    """A Redis to be ill-treated."""
    server = RedisProcess(tmp_path)
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def new_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
    """A function that makes a new store of one kind, empty; all are closed at the end."""
    from twisted.internet import reactor

    made: list[ISessionStore] = []
    server = request.getfixturevalue("shared_redis") if request.param == "redis" else None

    def new() -> ISessionStore:
        number = next(_prefixes)
        store: ISessionStore
        if request.param == "memory":
            store = MemoryStore()
        elif request.param == "sqlite":
            store = SQLiteStore(tmp_path / f"{number}.db", reactor)
        else:
            store = RedisStore(server.url, reactor, prefix=f"{{test}}:{number}:")
        made.append(store)
        return store

    yield new
    for store in made:
        pytest_twisted.blockon(store.close())
    assert not [thread for thread in threading.enumerate() if thread.name == "hardhttp-sqlite"]


@pytest.fixture
def store(new_store: Callable[[], Any]) -> Any:
    return new_store()
