"""``python -m benchmarks`` and a word: what is measured (``--help`` names them all)."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import (
    client_rows,
    coding_rows,
    h2_rows,
    hints_rows,
    http_rows,
    memory_rows,
    sse_rows,
    watched_rows,
    web_rows,
    worker_rows,
    ws_rows,
)
from benchmarks.processes import Failed

__all__ = ["main", "parser"]


def parser() -> argparse.ArgumentParser:
    """What may be asked for."""
    top = argparse.ArgumentParser(prog="python -m benchmarks", description="hardhttp beside its peers, on this machine")
    commands = top.add_subparsers(dest="command", required=True)
    http_rows.add_options(commands.add_parser("http", help="requests a second, cost against size, under attack"))
    h2_rows.add_options(commands.add_parser("h2", help="requests a second over HTTP/2"))
    client_rows.add_options(commands.add_parser("client", help="requests a second that a client makes"))
    memory_rows.add_options(commands.add_parser("memory", help="bytes for an idle connection; a million requests"))
    web_rows.add_options(commands.add_parser("web", help="requests a second: JSON by a route, sessions, files"))
    sse_rows.add_options(commands.add_parser("sse", help="events to everyone who listens: speed, delay, memory"))
    coding_rows.add_options(commands.add_parser("coding", help="compressed streams of events: saving and cost"))
    hints_rows.add_options(commands.add_parser("hints", help="what early hints cost a request: time and memory"))
    watched_rows.add_options(commands.add_parser("watched", help="what metrics, sentinel and ledger cost"))
    ws_rows.add_options(commands.add_parser("ws", help="WebSocket messages a second: echoed, and to everybody"))
    worker_rows.add_options(commands.add_parser("workers", help="two worker processes beside one"))
    for command in commands.choices.values():
        command.add_argument("--json", metavar="FILE", help="write the whole result there; - for standard output")
        command.add_argument("--no-pin", action="store_true", help="let servers and load run on any core")
        command.add_argument("--list", action="store_true", help="say what there is to run, and stop")
    return top


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """Turn SIGTERM and SIGHUP into an exception, so that every ``with`` block ends its children."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(argv: Sequence[str] | None = None) -> int:
    """0 when every figure is valid, 1 when one is not, 2 when it cannot be run at all."""
    options = parser().parse_args(argv)
    try:
        with ended_by_signal(), tempfile.TemporaryDirectory(prefix="benchmarks-") as directory:
            return options.run(options, Path(directory))
    except Failed as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("benchmarks: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
