"""Load by h2load, nghttp2's: one thread, and on each connection so many streams at once."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from benchmarks.peers import find_program
from benchmarks.processes import Failed, prepare
from benchmarks.wrk import Load

__all__ = ["INSTALL", "parse", "run"]

INSTALL = "h2load is not installed: the distribution's nghttp2-client"

_TIME = re.compile(r"finished in ([0-9.]+)(us|ms|s)\b")
_REQUESTS = re.compile(
    r"requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+)"
)
_STATUSES = re.compile(r"status codes: \d+ 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx")
_TRAFFIC = re.compile(r"traffic: .*?\((\d+)\) total")
_PROTOCOL = re.compile(r"Application protocol: (\S+)")
_UNITS = {"us": 1, "ms": 1000, "s": 1_000_000}


def parse(output: str, log: str) -> Load:
    """What h2load printed, and its log: a line for each request, of its start, status and microseconds."""
    protocol, time, requests = _PROTOCOL.search(output), _TIME.search(output), _REQUESTS.search(output)
    statuses, traffic = _STATUSES.search(output), _TRAFFIC.search(output)
    if not (protocol and time and requests and statuses and traffic):
        raise Failed(f"h2load said something else: {output.strip()[-200:]!r}")
    if protocol[1] not in ("h2", "h2c"):
        raise Failed(f"the server chose {protocol[1]} and not HTTP/2")
    taken = sorted(int(line.split("\t")[2]) for line in log.splitlines()) or [0]
    return Load(
        requests=int(requests[1]),
        microseconds=round(float(time[1]) * _UNITS[time[2]]),
        bytes=int(traffic[1]),
        connect=0,
        read=int(requests[3]),
        write=0,
        timeout=int(requests[4]),
        status=int(requests[2]) + sum(int(statuses[kind]) for kind in (1, 2, 3)),
        p50=taken[len(taken) // 2],
        p99=taken[len(taken) * 99 // 100],
        max=taken[-1],
    )


def run(
    url: str, headers: Mapping[str, str], connections: int, streams: int, seconds: int, core: int | None, log: Path
) -> Load:
    """Load ``url`` and return what was seen. Raises ``Failed`` when h2load cannot run."""
    program = find_program("h2load")
    if program is None:
        raise Failed(INSTALL)
    log.write_text("")
    # RFC 9113, 8.2.2: what is said to one connection has no place here.
    said = {name.lower(): value for name, value in headers.items() if name != "Connection"}
    words = [word for name, value in said.items() for word in ("-H", f"{name}: {value}")]
    command = [program, "-t1", f"-c{connections}", f"-m{streams}", f"-D{seconds}", f"--log-file={log}", *words, url]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=seconds + 60,
        preexec_fn=prepare(core),
    )
    if done.returncode:
        raise Failed(f"h2load ended with {done.returncode}: {(done.stderr or done.stdout).strip()[-200:]}")
    return parse(done.stdout, log.read_text())
