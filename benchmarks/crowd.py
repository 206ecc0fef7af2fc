"""Open keep-alive connections that do nothing: what they cost the others, and each one in memory."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from benchmarks import wrk
from benchmarks.figures import ratios, spread
from benchmarks.messages import BROWSER_HEADERS, HELLO_PATH, bare_get, is_whole_hello
from benchmarks.peers import Peer
from benchmarks.processes import Failed, raise_descriptors
from benchmarks.rounds import Plan, Series, in_turn, serving
from benchmarks.targets import AT_MOST
from benchmarks.throughput import SPARE, WARM_SECONDS, RateSample

__all__ = ["Crowd", "measure_growth"]

# Closing with a reset leaves no TIME_WAIT behind, of which tens of thousands would use up the ports.
RESET = struct.pack("ii", 1, 0)


class Crowd:
    """``count`` connections to 127.0.0.1, each of which has had one answer and stays open.

    A context manager: all are closed when it is left. Raises ``Failed`` when a connection is
    refused or answered otherwise than with a hello.
    """

    def __init__(self, port: int, count: int) -> None:
        self.port = port
        self.count = count
        self.sockets: list[socket.socket] = []

    def __enter__(self) -> Crowd:
        try:
            for _ in range(self.count):
                self.sockets.append(self._open())
        except OSError as error:
            which = len(self.sockets) + 1
            self.close()
            raise Failed(f"connection {which:,} of {self.count:,}: {error}") from None
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        try:
            connection.sendall(bare_get(HELLO_PATH))
            answer = b""
            while not is_whole_hello(answer):
                data = connection.recv(65536)
                answer += data
                if not data or not answer.startswith(b"HTTP/1.1 200"[: len(answer)]):
                    raise Failed(f"connection {len(self.sockets) + 1:,} of {self.count:,}: answered {answer[:40]!r}")
        except BaseException:
            connection.close()
            raise
        return connection

    def lost(self) -> int:
        """How many the server has closed since."""
        gone = 0
        for connection in self.sockets:
            connection.setblocking(False)
            try:
                connection.recv(1, socket.MSG_PEEK)
                gone += 1
            except BlockingIOError:
                pass
            except OSError:
                gone += 1
        return gone

    def close(self) -> None:
        """Close all of them."""
        while self.sockets:
            self.sockets.pop().close()


@dataclass(frozen=True)
class GrowthSample:
    """The same load beside crowds of rising size, each against a fresh server."""

    runs: dict[int, RateSample]
    lost: int

    @property
    def cost_growth(self) -> float:
        """Processor time for a request beside the largest crowd, over that beside the smallest."""
        return self.runs[max(self.runs)].cpu_microseconds / self.runs[min(self.runs)].cpu_microseconds

    @property
    def time_growth(self) -> float:
        """The same by the clock."""
        return self.runs[min(self.runs)].load.rate / self.runs[max(self.runs)].load.rate


def measure_growth(peers: Sequence[Peer], plan: Plan, sizes: Sequence[int]) -> dict[str, object]:
    """Run the row ``connections`` and return its part of the report.

    ``sizes``: open connections; ``plan.connections`` of each are active, or all where there are fewer.
    """
    raise_descriptors(max(sizes) + SPARE)
    lua = plan.directory / "connections.lua"
    lua.write_text(wrk.script(headers=BROWSER_HEADERS))

    def at(peer: Peer, size: int) -> tuple[RateSample, int]:
        active = min(plan.connections, size)
        with (
            serving(peer, plan, max_connections=max(sizes) + SPARE) as server,
            Crowd(server.port, size - active) as crowd,
        ):
            url = server.url + HELLO_PATH
            wrk.run(url, lua, active, WARM_SECONDS, plan.load_core)
            before = server.cpu_seconds()
            load = wrk.run(url, lua, active, plan.seconds, plan.load_core)
            sample = RateSample(load, server.cpu_seconds() - before)
            server.check()
            return sample, crowd.lost()

    def measure(peer: Peer) -> GrowthSample:
        runs, lost = {}, 0
        for size in sizes:
            runs[size], gone = at(peer, size)
            lost += gone
        return GrowthSample(runs, lost)

    def say(sample: GrowthSample) -> str:
        costs = ", ".join(f"{size:,}: {run.cpu_microseconds:.1f} us" for size, run in sample.runs.items())
        return f"{costs}; grows {sample.cost_growth:.2f} x" + (f"; {sample.lost} LOST" if sample.lost else "")

    series = in_turn("connections", peers, plan.pairs, measure, say)
    return {
        "row": "connections",
        "kind": "growth",
        "title": f"the cost of a request beside {', '.join(f'{size:,}' for size in sizes)} open connections",
        "pairs": plan.pairs,
        "seconds": plan.seconds,
        "connections": plan.connections,
        "sizes": list(sizes),
        "peers": {name: _entry(name, each, sizes) for name, each in series.items()},
    }


def _entry(name: str, each: Series[GrowthSample], sizes: Sequence[int]) -> dict[str, object]:
    errors: dict[str, int] = {}
    for sample in each.taken:
        for run in sample.runs.values():
            for kind, count in run.load.errors.items():
                errors[kind] = errors.get(kind, 0) + count
        if sample.lost:
            errors["lost"] = errors.get("lost", 0) + sample.lost
    entry: dict[str, object] = {"failure": each.failure, "errors": errors, "valid": each.failure is None and not errors}
    if each.taken:
        rates = {size: [sample.runs[size].load.rate for sample in each.taken] for size in sizes}
        entry["rate"] = {str(size): spread(values).as_dict() for size, values in rates.items()}
        entry["cpu_microseconds"] = {
            str(size): spread([sample.runs[size].cpu_microseconds for sample in each.taken]).as_dict() for size in sizes
        }
        growth = spread([sample.cost_growth for sample in each.taken])
        entry["cost_growth"] = growth.as_dict()
        entry["time_growth"] = spread(ratios(rates[sizes[0]], rates[sizes[-1]])).as_dict()
        if name == "hardhttp":
            bound = AT_MOST["connections"]
            entry["verdict"] = f"< {bound:g} {'met' if growth.median < bound else 'MISSED'}"
    return entry
