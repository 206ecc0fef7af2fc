"""Load by wrk: one thread, keep-alive, the next request as soon as the answer is whole."""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.peers import find_program
from benchmarks.processes import Failed, prepare

__all__ = ["INSTALL", "Load", "joined", "parse", "run", "script"]

INSTALL = "wrk is not installed: the distribution's wrk, or github.com/wg/wrk"
MARK = "wrk-json "

# wrk counts statuses over 399 apart; none of the requests here has a right answer from 300 to 399.
DONE = """
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'wrk-json {"requests":%d,"microseconds":%d,"bytes":%d,"connect":%d,"read":%d,"write":%d,' ..
    '"timeout":%d,"status":%d,"p50":%d,"p99":%d,"max":%d}\\n',
    summary.requests, summary.duration, summary.bytes, e.connect, e.read, e.write,
    e.timeout, e.status, latency:percentile(50), latency:percentile(99), latency.max))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk saw. Times are microseconds."""

    requests: int
    microseconds: int
    bytes: int
    connect: int
    read: int
    write: int
    timeout: int
    status: int
    p50: int
    p99: int
    max: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests * 1e6 / self.microseconds

    @property
    def errors(self) -> dict[str, int]:
        """What went wrong, by kind; empty when nothing did."""
        kinds = ("connect", "read", "write", "timeout", "status")
        return {kind: count for kind, count in asdict(self).items() if kind in kinds and count}


def script(method: str = "GET", headers: Mapping[str, str] | None = None, body_bytes: int = 0) -> str:
    """The Lua that makes every request the same one and prints the sums at the end."""
    lines = [f'wrk.method = "{method}"']
    lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in (headers or {}).items()]
    if body_bytes:
        lines.append(f'wrk.body = string.rep("x", {body_bytes})')
    return "\n".join(lines) + DONE


def parse(output: str) -> Load:
    """Find the line our script printed."""
    for line in output.splitlines():
        if line.startswith(MARK):
            return Load(**json.loads(line[len(MARK) :]))
    raise Failed(f"wrk said something else: {output.strip()[-200:]!r}")


def joined(loads: Sequence[Load]) -> Load:
    """Several runs as one: sums, the largest maximum, and the median of each percentile."""
    sums = ("requests", "microseconds", "bytes", "connect", "read", "write", "timeout", "status")
    return Load(
        **{name: sum(getattr(load, name) for load in loads) for name in sums},
        p50=round(statistics.median(load.p50 for load in loads)),
        p99=round(statistics.median(load.p99 for load in loads)),
        max=max(load.max for load in loads),
    )


def run(url: str, lua: Path, connections: int, seconds: int, core: int | None) -> Load:
    """Load ``url`` and return what was seen. Raises ``Failed`` when wrk cannot run."""
    program = find_program("wrk")
    if program is None:
        raise Failed(INSTALL)
    command = [program, "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(lua), url]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds + 60,
        preexec_fn=prepare(core),
    )
    if done.returncode:
        raise Failed(f"wrk ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return parse(done.stdout)
