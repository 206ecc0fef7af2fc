"""The client of ``sse``: ``sse_load.c``, compiled for the run, since a client in Python would be what limits it.

What it does and how it is spoken to stands at the head of that file.
"""

from __future__ import annotations

import json
import os
import select
import shlex
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from benchmarks.messages import EVENTS_PATH, HELLO, HELLO_PATH, PUBLISH_PATH
from benchmarks.peers import find_program
from benchmarks.processes import Failed, prepare

__all__ = ["INSTALL", "Load", "Phase", "compiled"]

SOURCE = Path(__file__).parent / "sse_load.c"
INSTALL = "the load is compiled when it runs, and there is no C compiler: `apt install gcc libc6-dev`, or set $CC"
# For streams to open, beside what a phase takes; the program gives up by itself before that.
PATIENCE_SECONDS = 90


def compiled(directory: Path) -> Path:
    """The program, made below ``directory``. Raises ``Failed`` without a compiler, or with what it said."""
    words = shlex.split(os.environ.get("CC", "")) or next(
        ([name] for name in ("cc", "gcc", "clang") if find_program(name)), []
    )
    if not words:
        raise Failed(INSTALL)
    program = directory / "sse_load"
    try:
        done = subprocess.run(
            [*words, "-O2", "-o", str(program), str(SOURCE)],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=120,
        )
    except OSError as error:
        raise Failed(f"{words[0]}: {error}; {INSTALL}") from None
    if done.returncode:
        raise Failed(f"{words[0]} could not compile {SOURCE.name}: {done.stderr.strip()[-400:]}; {INSTALL}")
    return program


@dataclass(frozen=True)
class Phase:
    """Events for a time: at most ``window`` out at once, ``gap_ms`` between one's end and the next.

    ``events`` ends it early (0: not). ``pages_per_second`` are asked for meanwhile.
    """

    window: int
    milliseconds: int
    gap_ms: float = 0.0
    warm_ms: int = 0
    events: int = 0
    pages_per_second: int = 0

    def line(self) -> str:
        """As the program reads it."""
        gap = round(self.gap_ms * 1000)
        return f"run {self.window} {gap} {self.warm_ms} {self.milliseconds} {self.events} {self.pages_per_second}\n"


class Load:
    """``count`` open subscriptions to the server at ``port``. A context manager: all end when it is left.

    Raises ``Failed`` when a subscription is refused or the program says nothing in time.
    """

    def __init__(self, program: Path, port: int, count: int, event_bytes: int, core: int | None) -> None:
        self.core = core
        limit = 10 * PATIENCE_SECONDS
        numbers = [port, count, event_bytes, limit]
        self.command = [str(program), *map(str, numbers), EVENTS_PATH, PUBLISH_PATH, HELLO_PATH, HELLO.decode()]

    def __enter__(self) -> Load:
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, preexec_fn=prepare(self.core), bufsize=0
        )
        try:
            self._answer(PATIENCE_SECONDS)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, phase: Phase) -> dict[str, Any]:
        """What was seen in ``phase``; times in milliseconds, ``errors`` without those that did not happen."""
        assert self.process.stdin
        try:
            self.process.stdin.write(phase.line().encode())
        except BrokenPipeError:
            raise Failed(f"the load ended with {self.process.wait(10)}") from None
        seen = self._answer(phase.milliseconds / 1000 + PATIENCE_SECONDS)
        seen["errors"] = {kind: count for kind, count in seen["errors"].items() if count}
        return seen

    def _answer(self, seconds: float) -> dict[str, Any]:
        assert self.process.stdout
        deadline = time.monotonic() + seconds
        line = b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                raise Failed(f"the load said nothing for {seconds:.0f} s")
            data = self.process.stdout.read(65536)
            if not data:
                raise Failed(f"the load ended with {self.process.wait(10)}")
            line += data
        try:
            answer = json.loads(line)
        except ValueError:
            raise Failed(f"the load said {line[:200]!r}") from None
        if "failure" in answer:
            raise Failed(answer["failure"])
        return answer

    def _end(self) -> None:
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
