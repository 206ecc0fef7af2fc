"""Listening sockets that another process opened, and how they are handed on.

systemd passes the sockets of a ``.socket`` unit to the service that it starts (sd_listen_fds(3)). A process that is
restarted passes its own to its successor, and a parent to its workers. Whoever is begun with some adopts those that
its options name, by their addresses or names, and binds only what it was not given: so one command line does for all.

What is promised:

- a socket is given to one taker, once;
- descriptors are closed by ``exec``, and the variables that tell of them are gone from the environment once read;
- what is no listening socket is refused with its number, before anything is adopted.

systemd's variables are ``LISTEN_PID``, ``LISTEN_FDS`` and ``LISTEN_FDNAMES``. Who starts a process cannot know its
pid before there is one, and sd_listen_fds has more to say of a socket than its name; so predecessors and parents set
one variable of our own, ``HARDHTTP_FDS``: a JSON list of objects, one a socket, whose keys are those of ``Given``
with ``fd`` in the place of ``socket``. It is for the process that ``exec`` makes, and not for children of that.
"""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from typing import Any

import attrs

__all__ = ["VARIABLE", "Given", "Inherited", "InheritedError", "begun_with", "handed_on", "socket_name"]

VARIABLE = "HARDHTTP_FDS"
_SYSTEMD = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
_FIRST = 3  # SD_LISTEN_FDS_START
_MOST = 1024  # sockets that one process is given
_BEGUN_WITH = "/proc/self/environ"


class InheritedError(ValueError):
    """What was passed on cannot be used, or is not wanted."""


@attrs.frozen(eq=False)
class Given:
    """A listening socket.

    ``name`` is systemd's (FileDescriptorName=). ``chosen``: the kernel chose the port, so it is for an endpoint that
    asks for port 0. ``owned``: whoever has it removes the Unix socket's file, and its lock, at the end.
    """

    socket: socket.socket
    name: str = ""
    chosen: bool = False
    owned: bool = False

    @property
    def where(self) -> str:
        """The address, for people."""
        address = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return "unix:" + os.fsdecode(address).replace("\0", "@")
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def option(self) -> str:
        """The endpoint that would take it."""
        address = self.socket.getsockname()
        if self.socket.family == socket.AF_UNIX:
            return f"systemd:{self.name}" if address[:1] in ("", b"\0") else f"unix:{os.fsdecode(address)}"
        host, port = address[0].replace(":", r"\:"), address[1]
        return f"tcp:{port}:interface={host}"


class Inherited:
    """The sockets that this process was given, until they are taken."""

    def __init__(self, given: Iterable[Given] = ()) -> None:
        self._left = list(given)

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str], pid: int) -> Inherited:
        """What ``environ`` tells the process ``pid`` of; the variables are removed. Raises ``InheritedError``."""
        ours = environ.pop(VARIABLE, None)
        of_systemd = {name: environ.pop(name) for name in _SYSTEMD if name in environ}
        described = [] if ours is None else _read_ours(ours)
        if of_systemd.get("LISTEN_PID") == str(pid):
            described += _read_systemd(of_systemd)
        if len({each["fd"] for each in described}) < len(described):
            raise InheritedError("a socket was passed on twice")
        return cls([_adopted(**each) for each in described])

    @property
    def left(self) -> tuple[Given, ...]:
        """Those that nobody has taken."""
        return tuple(self._left)

    def take(self, family: int, address: Any) -> Given | None:
        """The socket that is bound to exactly ``address``, or ``None``.

        ``address`` is a host (``""`` is every one) and a port, or a path. With port 0 it is the next one at that host
        whose port the kernel chose.
        """
        for given in self._left:
            if given.socket.family == family and _is_at(given, address):
                return self._taken(given)
        return None

    def take_named(self, name: str) -> list[Given]:
        """Those of that name: all of one ``.socket`` unit may bear the same."""
        return [self._taken(given) for given in self.left if given.name == name]

    def forget(self, fileno: int) -> str:
        """Leave a descriptor to whoever knows its number; its name."""
        for given in self._left:
            if given.socket.fileno() == fileno:
                self._taken(given).socket.detach()
                return given.name
        return ""

    def take_rest(self) -> list[Given]:
        return [self._taken(given) for given in self.left]

    def _taken(self, given: Given) -> Given:
        self._left.remove(given)
        return given

    def close(self) -> None:
        """Let go of those that nobody has taken."""
        for given in self.take_rest():
            given.socket.close()


def begun_with(environ: MutableMapping[str, str]) -> MutableMapping[str, str]:
    """``environ`` with systemd's variables as they were when this process began, where that can be known.

    Twisted takes them out of the environment when its endpoints are imported, for ``systemd:`` endpoints of its own.
    """
    try:
        with open(_BEGUN_WITH, "rb") as file:
            words = [os.fsdecode(word).partition("=") for word in file.read().split(b"\0")]
    except OSError:
        return environ
    for name, _, value in words:
        if name in _SYSTEMD:
            environ.setdefault(name, value)
    return environ


def handed_on(given: Iterable[Given], first: int = _FIRST) -> tuple[dict[str, str], dict[int, int]]:
    """How ``given`` are passed on: what to add to the environment, and what each descriptor there is one of here.

    The second is for ``childFDs`` of ``IReactorProcess.spawnProcess``; numbers begin at ``first``.
    """
    described, descriptors = [], {}
    for number, each in enumerate(given, first):
        descriptors[number] = each.socket.fileno()
        described.append({"fd": number, "name": each.name, "chosen": each.chosen, "owned": each.owned})
    return {VARIABLE: json.dumps(described)}, descriptors


def socket_name(description: str) -> str | None:
    """Which inherited sockets an endpoint's description names: those of ``systemd:NAME``, or the rest (``systemd:``).

    ``None`` for all others, Twisted's own ``systemd:domain=INET:index=0`` among them.
    """
    kind, colon, name = description.partition(":")
    ours = kind == "systemd" and colon and not any(sign in name for sign in ":=")
    return name if ours else None


# -- reading -------------------------------------------------------------------------------------


def _read_ours(text: str) -> list[dict[str, Any]]:
    kinds = {"fd": int, "name": str, "chosen": bool, "owned": bool}
    try:
        described = json.loads(text)
        good = isinstance(described, list) and all(
            isinstance(each, dict)
            and "fd" in each
            and all(type(value) is kinds.get(key) for key, value in each.items())
            for each in described[: _MOST + 1]
        )
    except (ValueError, RecursionError):
        good = False
    if not good or len(described) > _MOST:
        raise InheritedError(f"{VARIABLE} is not what a predecessor or a parent sets")
    return list(described)


def _read_systemd(said: Mapping[str, str]) -> list[dict[str, Any]]:
    count = said.get("LISTEN_FDS", "")
    if not (count.isascii() and count.isdigit() and int(count[:9]) <= _MOST):
        raise InheritedError(f"LISTEN_FDS is {count[:20]!r}; it must be a number up to {_MOST}")
    names = said.get("LISTEN_FDNAMES", "").split(":")
    names += [""] * (int(count) - len(names))
    return [{"fd": _FIRST + number, "name": names[number]} for number in range(int(count))]


def _adopted(fd: int, **about: Any) -> Given:
    try:
        handle = socket.socket(fileno=fd)
    except OSError as error:
        raise InheritedError(f"the descriptor {fd} that was passed on is no socket: {error.strerror}") from None
    handle.set_inheritable(False)
    if handle.type != socket.SOCK_STREAM or not handle.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        handle.detach()
        raise InheritedError(
            f"the descriptor {fd} that was passed on is no listening stream socket; in a .socket unit that is "
            "ListenStream= with Accept=no"
        )
    handle.setblocking(False)
    return Given(handle, **about)


# -- comparing -----------------------------------------------------------------------------------


def _is_at(given: Given, address: Any) -> bool:
    bound = given.socket.getsockname()
    if given.socket.family == socket.AF_UNIX:
        return _path(bound) == _path(address)
    host, port = address
    return (given.chosen if not port else bound[1] == port) and any(
        _host(bound[0]) == _host(each) for each in _resolved(given.socket.family, host)
    )


def _path(name: str | bytes) -> bytes:
    path = os.fsencode(name)
    return path if path.startswith(b"\0") else os.path.abspath(path)


def _resolved(family: int, host: str) -> Iterator[str]:
    """The addresses that binding to ``host`` may choose."""
    if not host:
        yield "0.0.0.0" if family == socket.AF_INET else "::"
        return
    try:
        found = socket.getaddrinfo(host, None, family, socket.SOCK_STREAM)
    except OSError:
        return
    yield from (str(each[4][0]) for each in found)


def _host(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    return ipaddress.ip_address(text)
