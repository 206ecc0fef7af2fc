"""The benchmark of events: its command line, its arithmetic, its client; and one second of the real thing.

Nothing here judges a speed. The client is compiled only in the slow tests.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and pins cores")

from benchmarks import processes, report, sse_client, sse_rows, targets  # noqa: E402
from benchmarks.__main__ import main, parser  # noqa: E402
from benchmarks.peers import Setting  # noqa: E402
from benchmarks.rounds import Series  # noqa: E402
from benchmarks.servers import nchan_sse, sse_holds  # noqa: E402
from benchmarks.sse_client import Load, Phase  # noqa: E402
from benchmarks.sse_rows import SSE_PEERS, Sample, summarise  # noqa: E402

# -- the command line ---------------------------------------------------------------------------


def test_what_may_be_asked_for():
    options = parser().parse_args(["sse"])
    assert options.sizes == [100, 1000, 8000]
    assert options.peers == ["hardhttp", "nchan", "starlette", "sse-starlette", "aiohttp-sse", "twisted.web"]
    assert (options.pairs, options.seconds, options.bytes, options.window) == (5, 3, 200, 8)


@pytest.mark.parametrize(
    ("word", "bad"), [("--sizes", "0"), ("--bytes", "9"), ("--window", "65"), ("--peers", "mercure")]
)
def test_values_out_of_bounds_are_refused(word, bad, capsys):
    with pytest.raises(SystemExit):
        parser().parse_args(["sse", word, bad])
    assert bad in capsys.readouterr().err


def test_the_list_needs_no_compiler(monkeypatch, capsys):
    monkeypatch.setattr(sse_client, "find_program", lambda name: None)
    assert main(["sse", "--list"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("hardhttp ")


def test_nchan_is_missed_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(nchan_sse, "MODULES", ("/nowhere",))
    assert "libnginx-mod-nchan" in sse_rows.missing_for_sse(SSE_PEERS["nchan"])


def test_every_peer_is_started_with_its_port(tmp_path):
    for peer in SSE_PEERS.values():
        words = peer.command(Setting(20_001, tmp_path, max_connections=400))
        assert words[:2] == [sys.executable, "-m"]
        assert "20001" in words
        assert words[2].startswith("benchmarks.servers.")


def test_the_configuration_of_nchan_has_a_value_for_everything():
    names = ["module", "directory", "files", "connections", "port", "path", "hello", "events", "publish"]
    text = nchan_sse.CONFIGURATION.format(**{name: f"<{name}>" for name in names})
    assert all(f"<{name}>" in text for name in names)
    assert text.count("{") == text.count("}")


# -- the client's start -------------------------------------------------------------------------


def test_without_a_compiler_the_remedy_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(sse_client, "find_program", lambda name: None)
    with pytest.raises(processes.Failed, match="apt install gcc"):
        sse_client.compiled(tmp_path)
    assert main(["sse", "--peers", "hardhttp"]) == 2
    assert "apt install gcc" in capsys.readouterr().err


@pytest.mark.parametrize("compiler", ["/nowhere/cc", "false"])
def test_a_compiler_that_fails_is_named(monkeypatch, tmp_path, compiler):
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(processes.Failed, match=rf"{compiler}.*apt install gcc"):
        sse_client.compiled(tmp_path)


def test_a_phase_as_the_program_reads_it():
    assert Phase(1, 5000, events=1).line() == "run 1 0 0 5000 1 0\n"
    assert Phase(8, 2300, 0.5, 300, pages_per_second=200).line() == "run 8 500 300 2300 0 200\n"


def script(tmp_path, text: str) -> Load:
    """The client, but a program of ours."""
    program = tmp_path / "load"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o700)
    return Load(program, 1, 1, 200, None)


def test_what_the_program_says(tmp_path):
    answer = {"events": 1, "errors": {"lost": 0, "closed": 2}}
    with script(tmp_path, f"echo '{{\"subscribers\": 1}}'; read line; echo '{json.dumps(answer)}'; read line") as load:
        assert load.run(Phase(1, 10)) == {"events": 1, "errors": {"closed": 2}}
    assert load.process.returncode is not None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('echo \'{"failure": "stream 3 was closed"}\'; exit 1', "stream 3 was closed"),
        ("exit 7", "ended with 7"),
        ("echo nonsense; read line", "nonsense"),
    ],
)
def test_a_program_that_fails(tmp_path, text, said):
    with pytest.raises(processes.Failed, match=said), script(tmp_path, text):
        pass


def test_a_program_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(sse_client, "PATIENCE_SECONDS", 0)
    with pytest.raises(processes.Failed, match="said nothing"), script(tmp_path, "read line"):
        pass


# -- arithmetic ---------------------------------------------------------------------------------


def sample(
    rate: float, *, several: float = 0, held: float | None = 2.0, lost: int = 0, page: float = 9.0, load: float = 0.5
) -> Sample:
    times = {"count": 10, "p50": 1.0, "p99": page, "max": 12.0}
    seen = {"each_ms": times, "last_ms": times, "page_ms": times, "deliveries": int(rate), "load_cpu_share": load}
    single = {**seen, "rate": rate, "errors": {}}
    return Sample(
        bytes_each=3000.0,
        base_bytes=1 << 20,
        single=single,
        several={**seen, "rate": several or rate, "errors": {"lost": lost} if lost else {}},
        cpu_seconds=1.0,
        cpu_share=0.8,
        held_ms=held,
    )


def series(**samples: list[Sample | None]) -> dict[str, Series[Sample]]:
    return {name: Series(SSE_PEERS[name], taken) for name, taken in samples.items()}


def test_ratios_are_taken_inside_each_round():
    found = summarise(
        "sse-8000",
        series(hardhttp=[sample(300), sample(150)], nchan=[sample(200, held=None), sample(100, held=None)]),
        "hardhttp",
    )
    nchan, ours = found["peers"]["nchan"], found["peers"]["hardhttp"]
    assert nchan["ratio"]["median"] == 1.5
    assert nchan["cpu_ratio"]["median"] == pytest.approx(1.5)
    assert nchan["verdict"] == ">= 1.2 met"
    assert nchan["held_ms"] is None
    assert ours["held_ms"] == 2.0
    assert ours["verdict"] == "hold <= 5 ms met, page <= 20 ms met, bytes <= 4,096 B met"


def test_the_harder_of_both_rates_is_judged():
    ours, theirs = sample(300, several=300), sample(100, several=280)
    nchan = summarise("sse-8000", series(hardhttp=[ours], nchan=[theirs]), "hardhttp")["peers"]["nchan"]
    assert nchan["ratio"]["median"] == 3
    assert nchan["verdict"] == ">= 1.2 MISSED"


def test_what_is_missed_is_said():
    found = summarise("sse-8000", series(hardhttp=[sample(100, held=5.1, page=20.1)]), "hardhttp")
    assert found["peers"]["hardhttp"]["verdict"] == "hold <= 5 ms MISSED, page <= 20 ms MISSED, bytes <= 4,096 B met"


def test_nothing_is_set_for_another_number_of_subscribers():
    found = summarise("sse-100", series(hardhttp=[sample(100)], nchan=[sample(100)]), "hardhttp")
    assert found["peers"]["hardhttp"]["verdict"] is None
    assert found["peers"]["nchan"]["verdict"] is None


def test_one_lost_event_makes_a_figure_invalid():
    found = summarise("sse-100", series(hardhttp=[sample(100), sample(100, lost=1)]), "hardhttp")
    assert found["peers"]["hardhttp"]["errors"] == {"lost": 1}
    assert not found["peers"]["hardhttp"]["valid"]


def test_a_figure_of_the_client_is_not_one_of_the_servers():
    assert sample(100, load=0.95).errors == {}
    assert sample(100, load=0.96).errors == {"limited by the load": 1}


def test_the_bounds_are_those_that_were_set():
    assert targets.AT_LEAST["sse-8000", "nchan"] == 1.2
    assert targets.AT_LEAST["sse-8000", "starlette"] == 4.0
    assert [targets.AT_MOST[f"sse-8000-{key}"] for key in ("hold", "page", "bytes")] == [5.0, 20.0, 4096]


def test_the_table(capsys):
    row = {
        "row": "sse-8000", "kind": "sse", "title": "", "pairs": 1, "seconds": 2, "window": 8,
        **summarise("sse-8000", series(hardhttp=[sample(1234)], nchan=[sample(617, held=None)]), "hardhttp"),
    }  # fmt: skip
    row["peers"]["starlette"] = {"failure": "does not answer"}
    report.write_row(row)
    lines = capsys.readouterr().out.splitlines()
    assert "1,234" in lines[4]
    assert "2.00..2.00" in lines[5]
    assert lines[6].endswith("FAILED: does not answer")


def test_the_longest_hold_is_told_once(monkeypatch):
    times = iter([0.0, 0.0, 0.001, 0.010, 0.011])
    monkeypatch.setattr(sse_holds.time, "perf_counter", lambda: next(times))
    later = []
    holds = sse_holds.Holds(lambda seconds, call: later.append(call))
    for _ in range(3):
        later.pop()()
    assert json.loads(holds.report()) == {"longest_ms": 9.0}
    assert json.loads(holds.report()) == {"longest_ms": 0.0}


# -- the client, against a server made for it ---------------------------------------------------


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The compiled client."""
    return sse_client.compiled(tmp_path_factory.mktemp("program"))


class Hub:
    """A server in a thread: each event goes to every stream as ``deliver`` makes it."""

    def __init__(self) -> None:
        self.port = 0
        self.streams: list[socket.socket] = []
        self.head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def deliver(self, stream: socket.socket, data: bytes, place: int) -> None:
        stream.sendall(b"data: %b\n\n" % data)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        # The client ends its connections with a reset.
        with suppress(OSError):
            self._answer(peer)

    def _answer(self, peer: socket.socket) -> None:
        file = peer.makefile("rb")
        while line := file.readline():
            length = 0
            while field := file.readline().strip():
                if field.lower().startswith(b"content-length:"):
                    length = int(field.split(b":")[1])
            if line.startswith(b"GET /events"):
                peer.sendall(self.head)
                self.streams.append(peer)
                return
            if line.startswith(b"POST"):
                data = file.read(length)
                for place, stream in enumerate(self.streams):
                    self.deliver(stream, data, place)
                peer.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            else:
                peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello, World!")

    def close(self) -> None:
        self._listener.close()
        for stream in self.streams:
            stream.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    made = Hub()
    yield made
    made.close()


@pytest.mark.slow
def test_the_client_counts_what_came(program, hub):
    with Load(program, hub.port, 5, 200, None) as load:
        seen = load.run(Phase(1, 5000, events=7, pages_per_second=100))
        assert (seen["events"], seen["deliveries"], seen["errors"]) == (7, 35, {})
        assert (seen["each_ms"]["count"], seen["last_ms"]["count"]) == (35, 7)
        assert 0 <= seen["each_ms"]["p50"] <= seen["last_ms"]["p99"] <= seen["last_ms"]["max"] + 0.01
        more = load.run(Phase(4, 200, pages_per_second=100))
        assert more["errors"] == {}
        assert more["deliveries"] == more["events"] * 5
        assert more["page_ms"]["count"] >= 1


@pytest.mark.slow
def test_an_event_in_pieces_is_one_delivery(program, hub):
    def deliver(stream, data, place):
        for byte in b"data: %b\n\n" % data:
            stream.sendall(bytes([byte]))

    hub.deliver = deliver
    with Load(program, hub.port, 3, 20, None) as load:
        seen = load.run(Phase(1, 5000, events=5))
        assert (seen["deliveries"], seen["errors"]) == (15, {})


@pytest.mark.slow
def test_an_event_twice_is_told(program, hub):
    hub.deliver = lambda stream, data, place: stream.sendall(b"data: %b\n\ndata: %b\n\n" % (data, data))
    with Load(program, hub.port, 2, 20, None) as load:
        load.run(Phase(1, 5000, events=2))
        assert load.run(Phase(1, 5000, events=2))["errors"]["repeated"] >= 3


@pytest.mark.slow
def test_an_event_that_does_not_come_is_lost_and_ends_the_phase(program, hub):
    hub.deliver = lambda stream, data, place: place and stream.sendall(b"data: %b\n\n" % data)
    with Load(program, hub.port, 3, 20, None) as load:
        seen = load.run(Phase(1, 60_000))
        assert seen["errors"] == {"lost": 1, "stalled": 1}
        assert seen["deliveries"] == 2


@pytest.mark.slow
def test_a_stream_that_ends_is_told(program, hub):
    def deliver(stream, data, place):
        if place:
            stream.sendall(b"data: %b\n\n" % data)
        else:
            stream.shutdown(socket.SHUT_RDWR)

    hub.deliver = deliver
    with Load(program, hub.port, 3, 20, None) as load:
        seen = load.run(Phase(1, 5000, events=1))
        assert (seen["deliveries"], seen["errors"]) == (2, {"lost": 1, "closed": 1})


@pytest.mark.slow
def test_a_refused_subscription_is_a_failure(program, hub):
    hub.head = b"HTTP/1.1 503 Service Unavailable\r\n\r\n"
    with pytest.raises(processes.Failed, match="answered with 503 and not 200"), Load(program, hub.port, 2, 20, None):
        pass


@pytest.mark.slow
def test_one_second_of_events(tmp_path):
    file = tmp_path / "result.json"
    words = ["sse", "--peers", "hardhttp,twisted.web", "--sizes", "50", "--pairs", "1", "--seconds", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--json", str(file)],
        cwd=processes.ROOT, capture_output=True, text=True, timeout=120, env={**os.environ},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(file.read_text())["rows"]
    for entry in row["peers"].values():
        assert entry["valid"], entry
        assert entry["rate"]["median"] > 0
        assert entry["held_ms"] > 0
    assert row["peers"]["twisted.web"]["ratio"]["median"] > 0
