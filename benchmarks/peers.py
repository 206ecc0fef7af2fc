"""Who takes part: how each server is started, what it needs, and how to install it."""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PEERS", "Peer", "Setting", "find_program", "missing"]


@dataclass(frozen=True)
class Setting:
    """What a server is started with.

    ``tls``: the files of a certificate and its key. ``max_connections``: for servers that cap them.
    ``collector``: whether the garbage collector runs.
    """

    port: int
    directory: Path
    tls: tuple[Path, Path] | None = None
    max_connections: int | None = None
    collector: bool = True

    def arguments(self) -> list[str]:
        """For the programs in ``servers/`` that are written in Python."""
        words = [str(self.port)]
        if self.tls:
            words += ["--tls", *map(str, self.tls)]
        if self.max_connections:
            words += ["--max-connections", str(self.max_connections)]
        if not self.collector:
            words.append("--no-gc")
        return words


@dataclass(frozen=True)
class Peer:
    """A server that can be measured.

    ``modules`` and ``program``: what must be there. ``packages``: whose versions are recorded.
    ``tree``: runs the tree of twisted.web resources, and can tell its garbage. ``post``: has a
    handler that reads a body.
    """

    name: str
    title: str
    install: str
    command: Callable[[Setting], list[str]]
    modules: tuple[str, ...] = ()
    program: str | None = None
    packages: tuple[str, ...] = ()
    tree: bool = False
    post: bool = True


def _python(module: str, *extra: str) -> Callable[[Setting], list[str]]:
    def command(setting: Setting) -> list[str]:
        return [sys.executable, "-m", f"benchmarks.servers.{module}", *setting.arguments(), *extra]

    return command


def _node(setting: Setting) -> list[str]:
    script = Path(__file__).parent / "servers" / "node.js"
    return [find_program("node") or "node", str(script), str(setting.port), *map(str, setting.tls or ())]


def _nginx(setting: Setting) -> list[str]:
    command = _python("nginx")(setting)
    command.insert(4, str(setting.directory))
    return command


_TWISTED = ("twisted.web", "OpenSSL")

PEERS: dict[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "hardhttp",
            "hardhttp.Site on hardhttp.listen",
            "pip install -e .",
            _python("hardhttp_tree"),
            ("hardhttp",),
            packages=("hardhttp", "twisted", "httptools"),
            tree=True,
        ),
        Peer(
            "hardhttp-stock",
            "hardhttp.Site on reactor.listenTCP",
            "pip install -e .",
            _python("hardhttp_tree", "--stock"),
            ("hardhttp",),
            packages=("hardhttp", "twisted", "httptools"),
            tree=True,
        ),
        Peer(
            "twisted.web",
            "twisted.web.server.Site",
            "pip install 'twisted[tls]'",
            _python("twisted_tree"),
            _TWISTED,
            packages=("twisted",),
            tree=True,
        ),
        Peer(
            "klein",
            "klein on twisted.web",
            "pip install klein",
            _python("klein_app"),
            ("klein", *_TWISTED),
            packages=("klein", "twisted"),
        ),
        Peer(
            "uvicorn",
            "a bare ASGI callable, uvloop, httptools",
            "pip install uvicorn uvloop httptools",
            _python("uvicorn_asgi"),
            ("uvicorn", "uvloop", "httptools"),
            packages=("uvicorn", "uvloop", "httptools"),
        ),
        Peer(
            "starlette",
            "Starlette on uvicorn",
            "pip install starlette uvicorn uvloop httptools",
            _python("uvicorn_asgi", "--starlette"),
            ("starlette", "uvicorn", "uvloop", "httptools"),
            packages=("starlette", "uvicorn"),
        ),
        Peer(
            "aiohttp",
            "aiohttp.web on uvloop",
            "pip install aiohttp uvloop",
            _python("aiohttp_app"),
            ("aiohttp", "uvloop"),
            packages=("aiohttp", "uvloop"),
        ),
        Peer(
            "tornado",
            "tornado.web on uvloop",
            "pip install tornado uvloop",
            _python("tornado_app"),
            ("tornado", "uvloop"),
            packages=("tornado", "uvloop"),
        ),
        Peer(
            "granian",
            "a bare ASGI callable, one worker",
            "pip install granian uvloop",
            _python("granian_asgi"),
            ("granian", "uvloop"),
            packages=("granian", "uvloop"),
        ),
        Peer("node", "node:http, bare", "the distribution's nodejs, or nodejs.org", _node, program="node"),
        Peer(
            "nginx",
            "return 200, one process",
            "the distribution's nginx",
            _nginx,
            program="nginx",
            post=False,
        ),
    )
}


def find_program(name: str) -> str | None:
    """Where a program is, looking also where administrators' programs lie."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def missing(peer: Peer) -> str | None:
    """Why ``peer`` cannot take part, and what to do about it; ``None`` when it can."""
    if peer.program and find_program(peer.program) is None:
        return f"not installed: {peer.install}"
    for module in peer.modules:
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            return f"not installed: {peer.install}"
    if "hardhttp" in peer.modules:
        try:
            package = importlib.import_module("hardhttp")
        except ImportError as error:
            return f"cannot be imported: {error}"
        absent = [name for name in ("Site", "Limits", "listen") if not hasattr(package, name)]
        if absent:
            return f"cannot be used: hardhttp has no {', '.join(absent)}"
    return None
