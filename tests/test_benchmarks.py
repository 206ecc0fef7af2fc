"""The benchmarks' arithmetic, their command line and their clients; and one second of the real thing.

Nothing here judges a speed: a test run shares its cores.
"""

from __future__ import annotations

import json
import os
import random
import resource
import socket
import subprocess
import sys
import threading

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc and pins cores")

from benchmarks import (  # noqa: E402
    attackers,
    crowd,
    figures,
    h2_rows,
    h2load,
    million,
    options,
    peers,
    processes,
    report,
    sse_rows,
    targets,
    watched_rows,
    web_rows,
    worker_rows,
    wrk,
)
from benchmarks.__main__ import main, parser  # noqa: E402
from benchmarks.messages import BROWSER_HEADERS, HELLO, bare_get, is_whole_hello  # noqa: E402
from benchmarks.rounds import Series, base_of, in_turn  # noqa: E402
from benchmarks.throughput import RATE_ROWS, RateSample, summarise  # noqa: E402

# -- arithmetic ---------------------------------------------------------------------------------


def test_percentiles_lie_between_neighbours():
    assert figures.percentile([4, 1, 3, 2], 0) == 1
    assert figures.percentile([4, 1, 3, 2], 50) == 2.5
    assert figures.percentile([4, 1, 3, 2], 100) == 4
    assert figures.percentile([7], 99) == 7
    with pytest.raises(ValueError):
        figures.percentile([], 50)


def test_a_ratio_is_taken_inside_each_round():
    # Each round is twice as slow as the one before; the programs' ratio stays what it is.
    assert figures.ratios([300, 150, 75], [200, 100, 50]) == [1.5, 1.5, 1.5]


def test_a_round_without_both_says_nothing():
    assert figures.ratios([300, None, 75], [200, 100, 0]) == [1.5]


def test_spread():
    found = figures.spread([1.5, 1.0, 2.0, 1.25, 1.75])
    assert (found.median, found.low, found.high) == (1.5, 1.0, 2.0)
    assert (found.quartile1, found.quartile3, found.count) == (1.25, 1.75, 5)
    assert str(found) == "1.50 (1.00..2.00)"


def test_the_slope_of_a_line_is_exact():
    xs = list(range(20))
    found = figures.slope(xs, [3.0 * x + 7 for x in xs])
    assert (found.median, found.low, found.high) == (3.0, 3.0, 3.0)
    assert not found.flat


def test_the_slope_is_not_moved_by_an_outlier():
    xs = list(range(20))
    ys = [3.0 * x for x in xs]
    ys[10] = 1e6
    assert figures.slope(xs, ys).median == pytest.approx(3.0, rel=0.01)


def test_noise_about_a_level_is_flat_and_a_leak_is_not():
    chance = random.Random(1)
    xs = [50_000 * n for n in range(1, 21)]
    noise = [chance.gauss(0, 4096) for _ in xs]
    assert figures.slope(xs, [6e7 + each for each in noise]).flat
    leak = figures.slope(xs, [6e7 + 7 * x + each for x, each in zip(xs, noise)])
    assert not leak.flat
    assert leak.low < 7 < leak.high
    assert figures.slope(xs, [6e7] * 20).flat


@pytest.mark.parametrize(("xs", "ys"), [([1], [1]), ([1, 1], [1, 2]), ([1, 2], [1])])
def test_a_slope_needs_two_points(xs, ys):
    with pytest.raises(ValueError):
        figures.slope(xs, ys)


def test_verdicts_at_the_bound():
    bound = targets.AT_LEAST["hello-browser", "uvicorn"]
    assert targets.verdict("hello-browser", "uvicorn", bound) == f">= {bound} met"
    assert targets.verdict("hello-browser", "uvicorn", bound - 0.001) == f">= {bound} MISSED"
    assert targets.verdict("hello-browser", "klein", 0.1) is None
    for row, peer in targets.AT_LEAST:
        if row.startswith("sse-"):
            entered = set(sse_rows.SSE_PEERS)
        elif row in web_rows.ROWS:
            entered = {each.name for each in web_rows.ROWS[row][1]}
        elif row in h2_rows.ROWS:
            entered = set(h2_rows.H2_PEERS)
        elif row in watched_rows.ROWS:
            entered = {each.name for each in watched_rows.WATCHED}
        elif row in worker_rows.ROWS:
            entered = set(worker_rows.PEERS_BY_NAME)
        else:
            entered = set(peers.PEERS)
        assert peer in entered
        rates = {*RATE_ROWS, *web_rows.ROWS, *h2_rows.ROWS, *watched_rows.ROWS, *worker_rows.ROWS}
        assert row in rates | {f"sse-{size}" for size in sse_rows.SIZES}


# -- h2load -------------------------------------------------------------------------------------

H2LOAD = """
TLS Protocol: TLSv1.3
Application protocol: h2
finished in 1.01s, 15000.50 req/s, 1.32MB/s
requests: 15153 total, 15253 started, 15153 done, 15150 succeeded, 3 failed, 2 errored, 1 timeout
status codes: 15150 2xx, 0 3xx, 1 4xx, 0 5xx
traffic: 1.32MB (1385500) total, 600.50KB (614912) headers (space savings 26.21%), 192.38KB (196989) data
"""


def test_what_h2load_says():
    log = "".join(f"1700000000\t200\t{time}\n" for time in (300, 100, 200))
    load = h2load.parse(H2LOAD, log)
    assert (load.requests, load.microseconds, load.bytes) == (15150, 1_010_000, 1_385_500)
    assert load.errors == {"read": 2, "timeout": 1, "status": 4}
    assert (load.p50, load.p99, load.max) == (200, 300, 300)


def test_h2load_that_got_no_http2_is_no_figure():
    with pytest.raises(processes.Failed, match=r"http/1\.1"):
        h2load.parse(H2LOAD.replace("protocol: h2", "protocol: http/1.1"), "")
    with pytest.raises(processes.Failed, match="something else"):
        h2load.parse("", "")


# -- rounds -------------------------------------------------------------------------------------


def load(requests, **errors):
    counts = dict.fromkeys(("connect", "read", "write", "timeout", "status"), 0) | errors
    return wrk.Load(requests=requests, microseconds=1_000_000, bytes=1, p50=100, p99=900, max=1000, **counts)


def series(name, *rates, failure=None):
    return Series(peers.PEERS[name], [rate and RateSample(load(rate), 0.5) for rate in rates], failure)


def test_turns_are_taken_and_a_failure_is_kept():
    asked = []

    def measure(peer):
        asked.append(peer.name)
        if peer.name == "node" and len(asked) > 3:
            raise processes.Failed("it fell over")
        return len(asked)

    found = in_turn("hello", [peers.PEERS[name] for name in ("hardhttp", "node")], 3, measure, str)
    assert asked == ["hardhttp", "node", "hardhttp", "node", "hardhttp"]
    assert found["hardhttp"].samples == [1, 3, 5]
    assert found["node"].samples == [2, None, None]
    assert found["node"].failure == "it fell over"


def test_a_summary_has_ratios_and_verdicts():
    row = summarise(
        "hello-browser",
        {"hardhttp": series("hardhttp", 400, 200, 300), "uvicorn": series("uvicorn", 200, 100, 300)},
        "hardhttp",
    )
    assert row["base"] == "hardhttp"
    entry = row["peers"]["uvicorn"]
    assert (entry["ratio"]["median"], entry["ratio"]["low"], entry["ratio"]["high"]) == (2.0, 1.0, 2.0)
    assert entry["verdict"] == ">= 1.25 met"
    assert entry["valid"]
    assert "ratio" not in row["peers"]["hardhttp"]
    assert row["peers"]["hardhttp"]["cpu_microseconds"] == pytest.approx(0.5e6 / 300)


def test_one_error_makes_a_figure_invalid():
    bad = series("uvicorn", 200)
    bad.samples[0] = RateSample(load(200, status=1), 0.5)
    row = summarise("hello", {"hardhttp": series("hardhttp", 400), "uvicorn": bad}, "hardhttp")
    assert not row["peers"]["uvicorn"]["valid"]
    assert row["peers"]["uvicorn"]["errors"] == {"status": 1}
    assert row["peers"]["hardhttp"]["valid"]


def test_the_base_is_whoever_has_figures():
    found = {"hardhttp": series("hardhttp", None, failure="gone"), "node": series("node", 5)}
    assert base_of(found, "hardhttp") == "node"
    assert base_of({}, "hardhttp") is None


# -- what is sent and what is printed -------------------------------------------------------------


def test_ten_browser_headers():
    assert len(BROWSER_HEADERS) == 10
    assert "Host" not in BROWSER_HEADERS
    assert len(HELLO) == 13


def test_wrk_is_given_the_whole_request_and_its_sums_are_read():
    lua = wrk.script("POST", {"X-Quote": 'a"b'}, 1024)
    assert 'wrk.method = "POST"' in lua
    assert 'wrk.headers["X-Quote"] = "a\\"b"' in lua
    assert 'string.rep("x", 1024)' in lua
    line = wrk.MARK + json.dumps(vars(load(500, read=2)))
    found = wrk.parse(f"Running 1s test\n  500 requests in 1s\n{line}\n")
    assert found.rate == 500
    assert found.errors == {"read": 2}
    with pytest.raises(processes.Failed):
        wrk.parse("unable to connect")


def test_runs_of_wrk_are_joined():
    found = wrk.joined([load(100, read=1), load(300), load(200, read=2)])
    assert (found.requests, found.microseconds, found.rate, found.errors) == (600, 3_000_000, 200, {"read": 3})
    assert (found.p50, found.p99, found.max) == (100, 900, 1000)


def test_the_end_of_a_hello_is_seen_with_a_length_and_in_chunks():
    assert is_whole_hello(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + HELLO)
    assert is_whole_hello(b"HTTP/1.1 200 OK\r\n\r\nd\r\n" + HELLO + b"\r\n0\r\n\r\n")
    assert not is_whole_hello(b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\nHello")
    assert bare_get("/a", "X: y\r\n") == b"GET /a HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n\r\n"


def test_columns_line_up():
    assert report.table(("", "n"), [("a", "1"), ("bcd", "1,000")]) == "         n\na        1\nbcd  1,000"


@pytest.mark.parametrize("kind", ["rate", "growth", "attack", "idle", "requests"])
def test_a_failed_peer_has_its_reason_in_the_table(kind, capsys):
    row = {
        "row": "r", "kind": kind, "title": "t", "pairs": 1, "seconds": 1, "connections": 1, "base": "hardhttp",
        "sizes": [1, 2], "honest_rate": 1, "peers": {"node": {"failure": "it fell over", "errors": {}, "valid": False}},
    }  # fmt: skip
    report.write_row(row)
    assert "FAILED: it fell over" in capsys.readouterr().out


# -- the command line -----------------------------------------------------------------------------


def test_the_defaults():
    http = parser().parse_args(["http"])
    assert (http.pairs, http.seconds, http.connections, http.json) == (5, 3, 50, None)
    assert http.rows == list(RATE_ROWS)
    assert http.peers == list(peers.PEERS)
    assert http.sizes == [100, 1000, 10_000]
    memory = parser().parse_args(["memory"])
    assert (memory.connections, memory.requests, memory.pairs) == ([1000, 10_000], 1_000_000, 3)


def test_lists_are_read_in_the_order_given():
    given = parser().parse_args(["http", "--rows", "tls,hello,tls", "--peers", "node, hardhttp", "--sizes", "900,100"])
    assert given.rows == ["tls", "hello"]
    assert given.peers == ["node", "hardhttp"]
    assert given.sizes == [100, 900]
    assert {"connections", "attack"} < set(parser().parse_args(["http", "--rows", "all"]).rows)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["http", "--rows", "hallo"], "hallo: there are only hello"),
        (["http", "--rows", ","], "there are only hello"),
        (["http", "--peers", "apache"], "apache: there are only hardhttp"),
        (["http", "--pairs", "0"], "0 is not from 1 to 100"),
        (["http", "--pairs", "101"], "101 is not from 1 to 100"),
        (["http", "--seconds", "x"], "'x' is not a whole number"),
        (["memory", "--connections", "1000,40000"], "40,000 is not from 1 to 30,000"),
        ([], "required"),
    ],
)
def test_a_wrong_word_is_named(words, complaint, capsys):
    with pytest.raises(SystemExit) as raised:
        parser().parse_args(words)
    assert raised.value.code == 2
    assert complaint in capsys.readouterr().err


def test_counts_at_their_bounds():
    assert options.count(1, 100)("1") == 1
    assert options.count(1, 100)("100") == 100
    assert options.count(1, 2_000_000)("1,000_000") == 1_000_000


def test_the_list_names_rows_and_peers(capsys):
    assert main(["http", "--list"]) == 0
    said = capsys.readouterr().out
    for name in ("hello-browser", "attack", "twisted.web", "nginx"):
        assert name in said


def test_what_is_not_installed_is_said_with_its_remedy(monkeypatch, capsys):
    absent = peers.Peer("ghost", "nobody", "pip install ghost", lambda setting: [], ("no_such_module.at_all",))
    assert peers.missing(absent) == "not installed: pip install ghost"
    program = peers.Peer("ghost", "nobody", "apt install ghost", lambda setting: [], program="no-such-program")
    assert peers.missing(program) == "not installed: apt install ghost"
    monkeypatch.setitem(peers.PEERS, "node", absent)
    monkeypatch.setattr("benchmarks.rows.find_program", lambda name: "wrk")
    monkeypatch.setattr("benchmarks.http_rows.find_program", lambda name: "wrk")
    assert main(["http", "--peers", "node"]) == 2
    assert "not installed: pip install ghost" in capsys.readouterr().err


def test_every_peer_is_started_with_its_port(tmp_path):
    setting = peers.Setting(20_123, tmp_path, (tmp_path / "c.pem", tmp_path / "k.pem"))
    for peer in peers.PEERS.values():
        command = peer.command(setting)
        assert "20123" in command, peer.name
        assert str(tmp_path / "c.pem") in command, peer.name


def test_every_row_of_the_web_has_a_base_that_is_ours(capsys):
    assert main(["web", "--list"]) == 0
    said = capsys.readouterr().out
    for name, (row, entered) in web_rows.ROWS.items():
        assert f"{name} " in said
        assert row.name == name
        assert "hardhttp" in entered[0].modules
        for peer in entered:
            assert "20123" in peer.command(peers.Setting(20_123, processes.ROOT)), (name, peer.name)


def test_what_a_first_visit_is_given_is_sent_back():
    answer = b"HTTP/1.0 200 OK\r\nSet-Cookie: a=1; Path=/\r\nSet-Cookie: b=2\r\n\r\n"
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        setting = peers.Setting(listener.getsockname()[1], processes.ROOT)
        assert processes.Server(peers.PEERS["hardhttp"], setting, None).cookies("/") == ["a=1", "b=2"]
        thread.join()


# -- processes and clients ------------------------------------------------------------------------


def test_too_few_descriptors_are_refused_with_the_number(monkeypatch):
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1024, 4096))

    def refuse(which, limits):
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "setrlimit", refuse)
    processes.raise_descriptors(1024)
    with pytest.raises(processes.Failed, match="ulimit -n 10300"):
        processes.raise_descriptors(10_300)


def test_a_server_that_does_not_start_is_reported_and_leaves_nothing(tmp_path):
    peer = peers.Peer("ghost", "", "", lambda setting: [sys.executable, "-c", "raise SystemExit('no such port')"])
    server = processes.Server(peer, peers.Setting(processes.free_port(), tmp_path), None)
    with pytest.raises(processes.Failed, match="no such port"):
        server.__enter__()
    assert server.process.poll() is not None
    assert server.members() == []


@pytest.mark.slow
def test_a_server_that_will_not_end_is_killed_with_its_children(tmp_path, monkeypatch):
    monkeypatch.setattr(processes, "END_SECONDS", 0.3)
    script = (
        "import os, signal, sys, http.server\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "if os.fork() == 0: signal.pause(); signal.pause()\n"
        "class Hello(http.server.BaseHTTPRequestHandler):\n"
        "    def do_GET(self):\n"
        "        self.send_response(200); self.end_headers(); self.wfile.write(b'Hello, World!')\n"
        "http.server.HTTPServer(('127.0.0.1', int(sys.argv[1])), Hello).serve_forever()\n"
    )
    peer = peers.Peer("stubborn", "", "", lambda setting: [sys.executable, "-c", script, str(setting.port)])
    with processes.Server(peer, peers.Setting(processes.free_port(), tmp_path), None) as server:
        assert len(server.members()) == 2
        assert server.memory()["rss"] > server.memory()["pss"] > 0
    assert server.members() == []


@pytest.fixture
def hello_port():
    """Answers everything with a hello, a connection at a time, until the client has gone."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 13\r\n\r\n" + HELLO

    def talk(connection):
        with connection:
            try:
                while connection.recv(65536):
                    connection.sendall(answer)
            except OSError:
                pass

    def accept():
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=talk, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_crowd_is_held_and_let_go(hello_port):
    with crowd.Crowd(hello_port, 20) as held:
        assert len(held.sockets) == 20
        assert held.lost() == 0
    assert held.sockets == []


def test_a_crowd_that_is_refused_says_which(hello_port):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(processes.Failed, match="connection 1 of 3"), crowd.Crowd(unused.getsockname()[1], 3):
            pass


def test_the_honest_client_counts_what_it_sent(hello_port):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.honest", str(hello_port), "100", "3", "0.5"],
        cwd=processes.ROOT, capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["requests"] in (50, 51)  # one more when the last one falls on the end
    assert found["errors"] == 0
    assert 0 < found["p50"] <= found["p99"] <= found["max"]


def test_the_attack_opens_what_it_says_and_closes_it(hello_port):
    attack = attackers.Attack(hello_port, drips=10, stopped=3, flood=200)
    for _ in range(20):
        attack.tick()
    assert attack.counts["flood sent"] == 40
    assert attack.counts["flood HTTP/1.1 200"] > 0
    # The server takes a drip's beginning for a request and answers: such a connection counts as cut.
    assert attack.counts["drip cut"] == 10
    attack.close()
    assert attack.sockets == {}


def test_plain_requests_are_counted(hello_port, monkeypatch):
    monkeypatch.setattr(million, "ODD_EVERY", 1_000_000)
    assert million.send_many(hello_port, 130) == {"plain": 130}


@pytest.mark.parametrize("kind", sorted(million.ODD))
def test_odd_requests_are_what_they_are_called(kind):
    sent, end = million.ODD[kind]
    if kind.startswith("half"):
        assert end is None
    else:
        assert b"\r\n\r\n" in sent
    if end:
        assert b"Connection: close\r\n" in sent


# -- the real thing, for a second -----------------------------------------------------------------


@pytest.mark.slow
def test_one_second_of_hello_from_everyone_present(tmp_path):
    if peers.find_program("wrk") is None:
        pytest.fail(wrk.INSTALL)
    file = tmp_path / "result.json"
    words = ["http", "--rows", "hello", "--pairs", "1", "--seconds", "1", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=processes.ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(file.read_text())
    entries = result["rows"][0]["peers"]
    assert set(entries) == set(peers.PEERS) - set(result["absent"])
    for name, entry in entries.items():
        assert entry["valid"], (name, entry)
        assert entry["rate"]["median"] > 0
    assert result["machine"]["cores"] == os.cpu_count()


@pytest.mark.slow
def test_one_second_of_every_row_of_the_web(tmp_path):
    file = tmp_path / "result.json"
    names = "hardhttp,without,10 routes,100 routes,1000 routes,nginx"
    words = ["web", "--peers", names, "--pairs", "1", "--seconds", "1", "--connections", "8", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=processes.ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row["peers"] for row in json.loads(file.read_text())["rows"]}
    assert set(rows) == set(web_rows.ROWS)
    for name, entries in rows.items():
        for peer, entry in entries.items():
            assert entry["valid"], (name, peer, entry)


@pytest.mark.slow
def test_one_second_of_being_looked_after(tmp_path, capsys):
    assert main(["watched", "--list"]) == 0
    assert "hardhttp, unwatched" in capsys.readouterr().out
    file = tmp_path / "result.json"
    words = ["watched", "--pairs", "1", "--seconds", "1", "--connections", "8", "--json", str(file)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words], cwd=processes.ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    rows = {row["row"]: row["peers"] for row in json.loads(file.read_text())["rows"]}
    assert set(rows) == set(watched_rows.ROWS)
    for entries in rows.values():
        assert all(entry["valid"] for entry in entries.values())
        assert entries["unwatched"]["verdict"].startswith(">= 0.95 ")


@pytest.mark.slow
def test_memory_of_a_thousand_requests(tmp_path):
    file = tmp_path / "result.json"
    words = ["memory", "--peers", "hardhttp,twisted.web", "--connections", "50", "--requests", "10,000", "--pairs", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words, "--json", str(file)],
        cwd=processes.ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    idle, requests = json.loads(file.read_text())["rows"]
    for entry in idle["peers"].values():
        assert "50" in entry["bytes"]
    for entry in requests["peers"].values():
        assert entry["objects"]["collector"] is False
        assert len(entry["rss"]) == 10
        assert entry["slope"]["low"] <= entry["slope"]["median"] <= entry["slope"]["high"]


@pytest.mark.slow
def test_compressing_saves_where_there_is_something_to_save(capsys):
    """Sizes are the same on every machine; the microseconds are not looked at."""
    assert main(["coding"]) == 0
    rows = {line[:26].strip(): line[26:].split() for line in capsys.readouterr().out.splitlines()[1:]}
    assert float(rows["a list of 20"][1]) < 0.4
    assert float(rows["a quote, 8 together"][1]) < 0.5
    assert all(float(row[1]) <= float(row[2]) for row in rows.values())  # gzip, zstd


# -- early hints ----------------------------------------------------------------------------------


def test_c03_what_hints_cost_is_measured_by_one_command(capsys):
    """Each case answers what it is said to, and leaves nothing; times are not judged here."""
    assert main(["hints", "--pairs", "1", "--requests", "20", "--json", "-"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert list(rows) == ["none", "other", "final", "103", "call"]
    sizes = [row["answer_bytes"] for row in rows.values()]
    assert sizes[0] == sizes[1] < sizes[2] < sizes[3] == sizes[4]
    assert all(row["microseconds"] > 0 and row["peak_bytes"] > 0 for row in rows.values())
    assert main(["hints", "--list"]) == 0


# -- the client -----------------------------------------------------------------------------------


def test_clients_are_listed(capsys):
    assert main(["client", "--list"]) == 0
    assert "client-closed" in capsys.readouterr().out


@pytest.mark.slow
def test_clients_are_measured_by_one_command(capsys):
    words = ["client", "--rows", "client", "--peers", "hardhttp-treq,treq,httpx", "--pairs", "1", "--seconds", "1"]
    assert main([*words, "--json", "-", "--no-pin"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert all(entry["rate"]["median"] > 0 for entry in row["peers"].values())
    assert row["peers"]["treq"]["cpu_ratio"]["median"] > 0


# -- workers --------------------------------------------------------------------------------------


def test_rows_and_peers_of_workers_are_listed(capsys):
    assert main(["workers", "--list"]) == 0
    said = capsys.readouterr().out
    assert "work-10" in said
    assert "--workers 2" in said


@pytest.mark.slow
def test_workers_are_measured_by_one_command(capsys):
    assert main(["workers", "--rows", "work-1", "--pairs", "1", "--seconds", "1", "--json", "-"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert {*row["peers"]} == {"hardhttp", "one-worker", "no-workers"}
    assert row["peers"]["one-worker"]["ratio"]["median"] > 0
