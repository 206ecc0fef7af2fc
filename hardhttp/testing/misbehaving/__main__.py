"""``python -m hardhttp.testing.misbehaving NAME``: behave so until interrupted; the first line is the URL."""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python import usage

from hardhttp.testing.misbehaving import CATALOGUE, Role, serve


class Options(usage.Options):
    """What is said on the command line."""

    synopsis = "Usage: python -m hardhttp.testing.misbehaving [options] NAME"
    longdesc = "A peer on 127.0.0.1 that misbehaves, to try a client with. Its first line of output is its URL."
    optFlags = [["list", "l", "List the behaviours and what a sound client does with each."]]
    optParameters = [
        ["port", "p", 0, "Listen at this port; 0 is a free one.", int],
        ["seconds", "s", 600.0, "Reset a connection after this many seconds.", float],
    ]

    def parseArgs(self, name: str = "") -> None:
        self["name"] = name

    def postOptions(self) -> None:
        if not self["list"] and self["name"] not in CATALOGUE:
            raise usage.UsageError(f"no behaviour is called {self['name']!r}; see --list")


def listing() -> str:
    """The catalogue, as text."""
    lines = []
    for entry in CATALOGUE.values():
        what = {Role.PROXY: " (a proxy)", Role.SOCKS: " (a SOCKS proxy)", Role.HTTP2: " (HTTP/2)"}.get(entry.role, "")
        lines += [f"{entry.name}{what}", f"    {entry.does}", f"    {entry.sound}"]
    return "\n".join(lines) + "\n"


def say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def main(reactor: Any, *words: str) -> Deferred[None]:
    """Listen, say where, and stay."""
    options = Options()
    try:
        options.parseOptions(words)
    except usage.UsageError as error:
        raise SystemExit(f"{options.synopsis}\n{error}") from None
    if options["list"]:
        say(listing())
        raise SystemExit(0)
    peer = serve(reactor, options["name"], port=options["port"], max_seconds=options["seconds"])
    say(f"{peer.url}\n")
    reactor.addSystemEventTrigger("before", "shutdown", lambda: Deferred.fromCoroutine(peer.stop()))
    return Deferred()  # until a signal ends it


if __name__ == "__main__":
    from twisted.internet.task import react

    react(main, sys.argv[1:])
