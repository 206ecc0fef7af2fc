"""Servers that take part by name alone: how each is started, what it serves, and what it needs.

Each runs the small application written for it in ``hardhttp.soak.applications``. ``{python}``,
``{port}``, ``{admin}`` and ``{applications}`` in a command are filled in when it is started.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Mapping

import attrs

__all__ = ["PEERS", "TWISTD", "Peer", "find_program"]

_SOME = {"hello": "/", "large": "/large", "upload": "/upload", "later": "/later", "events": "/events"}
_SOCKETS = {**_SOME, "websocket": "/websocket"}
_SESSIONS = {**_SOME, "session": "/session", "look": "/look"}


@attrs.frozen
class Peer:
    """A server that is started by name. ``modules`` and ``program``: what must be there."""

    name: str
    command: tuple[str, ...]
    paths: Mapping[str, str]
    install: str
    modules: tuple[str, ...] = ()
    program: str | None = None

    def missing(self) -> str | None:
        """Why it cannot be started, and what would help; ``None`` when it can."""
        absent = [module for module in self.modules if importlib.util.find_spec(module) is None]
        if self.program is not None and find_program(self.program) is None:
            absent.append(self.program)
        return f"{self.name} needs {', '.join(absent)}: {self.install}" if absent else None


def find_program(name: str) -> str | None:
    """Where a program is, looking also where administrators' programs lie."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


def _python(name: str, module: str, paths: Mapping[str, str], install: str, *modules: str) -> Peer:
    return Peer(name, ("{python}", "-m", f"hardhttp.soak.applications.{module}", "{port}"), paths, install, modules)


# As ``twistd`` does, also where that is not on the path.
TWISTD = ("{python}", "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=")

PEERS: Mapping[str, Peer] = {
    peer.name: peer
    for peer in (
        Peer(
            "hardhttp",
            (
                *(*TWISTD, "hardhttp", "--listen=tcp:{port}:interface=127.0.0.1"),
                "--admin=tcp:{admin}:interface=127.0.0.1",
                "--app=hardhttp.soak.applications.hardhttp_app:root",
            ),
            {**_SESSIONS, **(_SOCKETS if importlib.util.find_spec("wsproto") else {})},
            "pip install hardhttp",
        ),
        _python("twisted.web", "twistedweb_app", _SESSIONS, "pip install 'twisted[tls]'", "twisted"),
        _python("uvicorn", "uvicorn_app", _SOCKETS, "pip install 'uvicorn[standard]'", "uvicorn"),
        _python("aiohttp", "aiohttp_app", _SOCKETS, "pip install aiohttp", "aiohttp"),
        _python("tornado", "tornado_app", _SOCKETS, "pip install tornado", "tornado"),
        Peer(
            "node",
            ("{node}", "{applications}/node_app.js", "{port}"),
            _SOME,
            "the distribution's nodejs, or nodejs.org",
            program="node",
        ),
        Peer(
            "nginx",
            ("{python}", "-m", "hardhttp.soak.applications.nginx_app", "{port}"),
            {"hello": "/", "large": "/large"},
            "the distribution's nginx",
            program="nginx",
        ),
    )
}
