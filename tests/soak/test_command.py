"""What the command line takes, and what it says to what it does not; progress; how servers are started and ended."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from hardhttp.soak import __main__ as command
from hardhttp.soak import commandline
from hardhttp.soak.commandline import pairs_of, parser
from hardhttp.soak.facts import about, facts
from hardhttp.soak.honest import Honest, HonestClient, percentile
from hardhttp.soak.peers import PEERS
from hardhttp.soak.plan import Plan, State, Step, make_plan
from hardhttp.soak.runner import Now, Runner
from hardhttp.soak.samples import SampleFile
from hardhttp.soak.scenarios.visitors import MixedTraffic, read_log
from hardhttp.soak.target import Running, Started, TargetError, named, owner_of
from hardhttp.soak.terminal import Lines, Table, outcomes_text, sparkline
from hardhttp.soak.where import Where
from tests.listening import free_port
from tests.soak.memoryserver import MemoryServer
from tests.soak.series import sample
from tests.twistd_process import ENVIRONMENT, ROOT

SERVER = """
import http.server, sys
class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(503 if self.path == "/busy" else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Page).serve_forever()
"""


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., tuple[int, str]]:
    def run(*words: str) -> tuple[int, str]:
        status = command.main([f"--into={tmp_path}", *words])
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    return run


# -- the command line --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "give --target, --command or --against"),
        (("--target=http://shop.test/",), "shop.test is not this machine"),
        (("--target=http://shop.test/", "--i-own=another.test"), "--i-own shop.test"),
        (("--target=shop",), "is not a URL"),
        (("--command=python shop.py",), "{port}"),
        (("--against=apache",), "no server is called that; there are: hardhttp, twisted.web"),
        (("--against=a=run it",), "{port}"),
        (("--against=hardhttp", "--path=big=/x"), "KIND is one of: hello, large"),
        (("--against=hardhttp", "--path=large=x"), "KIND=/PATH"),
        (("--against=hardhttp", "--duration=1s"), "not between 2s and 30d"),
        (("--against=hardhttp", "--each=1d"), "--each 1d, 54 times, is not between 2s and 30d"),
        (("--against=hardhttp", "--each=1s", "--duration=9s"), "give --duration, of all of it, or --each"),
        (("--against=hardhttp", "--each=1s", "--rounds=1"), "too short"),
        (("--against=hardhttp", "--duration=1M"), "1M"),
        (("--against=hardhttp", "--duration=20s"), "too short"),
        (("--against=hardhttp", "--scenario=drop"), "no scenario is called 'drop'"),
        (("--against=hardhttp", "--scenario=no.such:Thing"), "--scenario no.such:Thing: No module named"),
        (("--against=hardhttp", "--rounds=0"), "--rounds"),
        (("--against=hardhttp", "--resume"), "--resume: "),
        (("--against=hardhttp", "--replay=/nonexistent"), "/nonexistent"),
        (("--against=hardhttp", "--admin=http://127.0.0.1:8081"), "--admin is of --target or --command"),
        (("--command=a {port}", "--admin=127.0.0.1:8081"), "is no admin side"),
        (("--against=hardhttp", "--scenario=idle", "--admin-token=secret"), "must be env:NAME or file:PATH"),
        (("--against=hardhttp", "--scenario=idle", "--admin-token=env:NO_SUCH"), "there is no NO_SUCH"),
        (("--against=hardhttp", "--scenario=idle", "--admin-token=file:/nonexistent"), "cannot be read"),
        (("--against=hardhttp", "--scenario=idle", f"--admin-token=file:{__file__}"), "of visible ASCII characters"),
    ],
)
def test_what_cannot_be_done_is_told_with_what_would_do(said: Any, words: tuple[str, ...], says: str) -> None:
    status, text = said(*words)
    assert status == 2
    assert says in text


def test_a_run_is_not_written_over(said: Any, tmp_path: Path) -> None:
    (tmp_path / "samples.csv").write_text("")
    status, text = said("--against=hardhttp")
    assert (status, "--resume it, or choose another directory" in text) == (2, True)


@pytest.mark.slow
def test_what_was_run_and_has_no_verdict_has_not_passed(tmp_path: Path) -> None:
    """Gone on with, the run is over; it has samples of one scenario and none of the other."""
    state = State(make_plan(("mine",), ("idle", "churn"), 4.0))
    for step in state.plan.steps("mine"):
        state.done.add(step)
        state.result(step).add({"closed": 1}, 0.0)
    with SampleFile(tmp_path / "samples.csv") as file:
        for phase in ("baseline", "load", "rest"):
            file.write(sample(phase, 1, 50 << 20, server="mine", scenario="idle"))
    state.save(tmp_path / "state.json")
    words = [f"--into={tmp_path}", "--against=mine=run {port}", "--resume"]
    done = subprocess.run(
        [sys.executable, "-m", "hardhttp.soak", *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert "PASS   mine         idle" in done.stdout, done.stdout + done.stderr
    assert "-      mine         churn                    No verdict" in done.stdout
    assert done.returncode == 1


def test_a_run_knows_its_servers(said: Any, tmp_path: Path) -> None:
    """Whoever goes on with it need not say them again."""
    begun = ["--against=mine=shop {port}", "--scenario=idle", "--into=elsewhere"]
    State(make_plan(("mine",), ("idle",), 4.0), words=begun).save(tmp_path / "state.json")
    asked = commandline.said(["--resume", f"--into={tmp_path}"])
    assert (asked.against, asked.scenario) == (["mine=shop {port}"], ["idle"])
    assert (asked.resume, asked.into) == (True, str(tmp_path))
    assert commandline.said(["--resume", f"--into={tmp_path}", "--against=node"]).against == ["node"]
    (tmp_path / "state.json").unlink()
    status, text = said("--resume")
    assert (status, f"there is no run in {tmp_path} to go on with" in text) == (2, True), text


def test_another_runs_servers_are_asked_for(said: Any, tmp_path: Path) -> None:
    State(Plan(("a",), ("idle",), 1, 2.0)).save(tmp_path / "state.json")
    status, text = said("--against=hardhttp", "--resume")
    assert (status, "give the servers of that run again: a" in text) == (2, True)


def test_scenarios_of_ones_own_are_asked_for_again(said: Any, tmp_path: Path) -> None:
    State(Plan(("node",), ("idle", "lurker"), 1, 2.0)).save(tmp_path / "state.json")
    status, text = said("--against=node", "--resume")
    assert (status, "name the scenarios of your own again: lurker" in text) == (2, True)


@pytest.mark.slow
def test_a_scenario_of_ones_own_is_run_from_the_working_directory(tmp_path: Path, script: Path) -> None:
    """The one of ``docs/soak.rst``."""
    text = (ROOT / "docs" / "soak.rst").read_text("utf-8")
    code = text[text.index("   from hardhttp.soak.scenario") : text.index("In `lurking.py`")]
    (tmp_path / "lurking.py").write_text(textwrap.dedent(code))
    words = [f"--command={sys.executable} {script} {{port}}", "--scenario=lurking:Lurker", "--duration=2s"]
    done = subprocess.run(
        [sys.executable, "-m", "hardhttp.soak", *words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "PASS   server       lurker" in done.stdout


def test_the_list_tells_what_each_does(said: Any) -> None:
    status, text = said("--list")
    assert status == 0
    assert "drip-head" in text
    assert text.count("sound") >= 40
    assert "stopped-reader           --path large=...\n" in text
    assert "V17" not in text


def test_only_what_a_server_has_the_paths_for_takes_time(tmp_path: Path) -> None:
    servers = {"a": named("a=run {port}", tmp_path, {"large": "/x"}), "node": named("node", tmp_path)}
    servers["here"] = Running("here", Where.of("http://127.0.0.1:80/"))
    assert pairs_of(servers, ("idle", "stopped-reader", "endless-fragments")) == 5
    assert pairs_of(servers, ("endless-fragments",)) == 1


def test_help_teaches() -> None:
    text = parser().format_help()
    for word in ("examples:", "--resume --into soak", "Only ever attack what is yours", *PEERS):
        assert word in text


@pytest.mark.slow
def test_the_lists_first_lines_may_be_all_that_is_read(tmp_path: Path) -> None:
    words = f"{sys.executable} -m hardhttp.soak --list | head -1"
    done = subprocess.run(["sh", "-c", words], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert (done.stdout.split(), done.stderr) == (["mixed-traffic"], "")


@pytest.mark.slow
def test_it_runs_as_a_module(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hardhttp.soak", "--against=none"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "no server is called that" in done.stderr


# -- servers -----------------------------------------------------------------------------------


def sleep(seconds: float) -> Any:
    from twisted.internet import reactor

    return deferLater(reactor, seconds)


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "server.py"
    path.write_text(SERVER)
    return path


def is_gone(pid: int) -> bool:
    """Or dead, and not reaped yet."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() == b""
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest_twisted.ensureDeferred
async def test_a_server_is_started_and_ended_with_its_group(script: Path, tmp_path: Path) -> None:
    """A shell between, whose child would outlive it if only the shell were ended."""
    server = named(f"mine=sh -c '{sys.executable} {script} {{port}} & wait'", tmp_path, {"large": "/big"})
    await server.start(sleep)
    try:
        assert server.where.paths == {"hello": "/", "large": "/big"}
        listener = owner_of(server.where.port)
        assert listener is not None
        assert listener != server.pid
        server.check()
    finally:
        await server.end(sleep)
    for _ in range(100):  # it has been killed; the kernel takes its time
        if is_gone(listener):
            break
        await sleep(0.05)
    assert is_gone(listener)
    assert server.pid is None


class Nobody:
    """Looks on, and says nothing."""

    def sampled(self, now: Any, sample: Any) -> None:
        pass

    def said(self, text: str) -> None:
        pass


@pytest.mark.parametrize("seen", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_run_without_a_server_leaves_nothing_in_the_way_of_the_next(tmp_path: Path, seen: bool) -> None:
    from twisted.internet import reactor

    state = State(Plan(("a",), ("idle",), 1, 2.0))
    if seen:
        state.result(Step("a", "idle", 1))
    servers = {"a": Running("a", Where.of(f"http://127.0.0.1:{free_port()}/"), os.getpid())}
    await Runner(reactor, state, servers, tmp_path, Nobody()).run()
    assert "nobody answers" in state.problems["a"]
    assert (tmp_path / "state.json").exists() is (tmp_path / "samples.csv").exists() is seen


def test_a_command_that_names_an_admin_side_is_given_a_port_for_it(tmp_path: Path) -> None:
    assert "--admin=tcp:8082:interface=127.0.0.1" in named("hardhttp", tmp_path).command(8081, 8082)


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_the_ready_hardhttp_tells_of_itself(tmp_path: Path) -> None:
    from hardhttp.soak.probes import Probe

    server = named("hardhttp", tmp_path)
    assert server.admin_url is None
    await server.start(sleep)
    try:
        assert server.pid is not None
        assert server.admin_url is not None
        assert str(server.where.port) not in server.admin_url
        looks = [await deferToThread(Probe(server.pid, server.admin_url).look) for _ in range(2)]
        assert all(look.ledger_bytes == look.connections == 0 for look in looks)
        assert looks[0].collected is not None
        assert looks[0].traced_bytes is None
    finally:
        await server.end(sleep)


@pytest_twisted.ensureDeferred
async def test_a_server_that_does_not_start_says_its_last_words(tmp_path: Path) -> None:
    server = named(f"mine={sys.executable} -c 'print(\"no such database\"); {{port}}/0'", tmp_path)
    try:
        with pytest.raises(TargetError, match=r"mine has ended \(1\).*no such database"):
            await server.start(sleep)
    finally:
        await server.end(sleep)


def test_ready_peers_are_filled_in(tmp_path: Path) -> None:
    for name, peer in PEERS.items():
        words = Started(name, peer.command, peer.paths, tmp_path / "log").command(8123)
        assert not [word for word in words if "{" in word]
        assert any("8123" in word for word in words)
        if "-m" in words:
            module = words[words.index("-m") + 1]
            assert (Path(command.__file__).parent / "applications" / f"{module.rpartition('.')[2]}.py").exists()


# -- the honest client -------------------------------------------------------------------------


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_an_honest_client_tells_what_it_saw(script: Path, tmp_path: Path) -> None:
    from twisted.internet import reactor

    server = named(f"mine={sys.executable} {script} {{port}}", tmp_path)
    await server.start(sleep)
    client = HonestClient(reactor, server.where, 50.0)
    try:
        suffered = client.take()
        while suffered.requests < 3:
            assert client.ended is None, client.ended
            await sleep(0.05)
            suffered = client.take()
        assert suffered.failures == 0
        assert suffered.p50_ms is not None
        assert suffered.p99_ms is not None
        assert 0 < suffered.p50_ms <= suffered.p99_ms
        assert Honest(server.where).ask()
        busy = Where("http", "127.0.0.1", server.where.port, {"hello": "/busy"})
        assert not Honest(busy).ask()
    finally:
        client.close()
        await server.end(sleep)
    assert not Honest(server.where).ask()
    while client.ended is None:
        await sleep(0.01)


def test_percentiles_are_of_the_nearest_rank() -> None:
    assert percentile([3, 1, 2], 50) == 2
    assert percentile(range(1, 101), 99) == 99
    assert percentile([5], 99) == 5


# -- small things ------------------------------------------------------------------------------


def test_a_log_is_replayed() -> None:
    lines = [
        '1.2.3.4 - - [21/Nov/2026:10:00:00 +0000] "GET /a?b=1 HTTP/1.1" 200 12 "-" "x"',
        '1.2.3.4 - - [21/Nov/2026:10:00:00 +0000] "POST /form HTTP/1.0" 200 12',
        '1.2.3.4 - - [21/Nov/2026:10:00:00 +0000] "DELETE /a HTTP/1.1" 200 12',
        '1.2.3.4 - - [21/Nov/2026:10:00:00 +0000] "\\x16\\x03" 400 0',
        "",
    ]
    assert list(read_log(lines)) == [("GET", "/a?b=1"), ("POST", "/form")]


def test_a_log_is_asked_again_in_its_order() -> None:
    server = MemoryServer()
    server.run(MixedTraffic([("GET", "/a?b=1"), ("POST", "/form")]), seconds=1.0, scale=0.1)
    lines = [data.partition(b" HTTP")[0] for _, data in server.transports[0].sent]
    assert lines[:3] == [b"GET /a?b=1", b"POST /form", b"GET /a?b=1"]


def test_a_log_without_a_request_is_refused(said: Any, tmp_path: Path) -> None:
    (tmp_path / "log").write_text("nothing\n")
    status, text = said("--against=hardhttp", f"--replay={tmp_path / 'log'}", f"--into={tmp_path / 'soak'}")
    assert (status, "no line of it" in text) == (2, True)


def test_progress_without_a_terminal_is_a_line_a_round(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines(Plan(("a",), ("idle",), 3, 6.0))
    for phase in ("baseline", "load", "rest", "rest"):
        lines.sampled(Now(Step("a", "idle", 2), phase, {}, 0), sample(phase, 2, 50 << 20))
    text = capsys.readouterr().out
    assert text.count("\n") == 1
    assert text.startswith("a: idle, round 2 of 3: 59 MiB")


def test_progress_on_a_terminal_is_a_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Table(Plan(("a",), ("idle",), 3, 6.0)) as table:
        table.said("a: [starting]")
        table.sampled(Now(Step("a", "idle", 2), "load", {"408": 12, "held": 3}, 7), sample("load", 2, 50 << 20))
        table._live.refresh()
        shown = capsys.readouterr().out
    assert "a: [starting]" in shown
    assert "idle" in shown
    assert "7 open; 408 12, held 3" in shown
    assert "59 MiB" in shown


def test_bars_and_outcomes() -> None:
    assert sparkline([5, 5]) == "▁▁"
    assert sparkline([0, 50, 100]) == "▁▅█"
    assert outcomes_text({}) == "-"
    assert outcomes_text({str(n): n for n in range(9)}) == "8 8, 7 7, 6 6, 5 5, 4 4"


def test_facts_tell_how_to_make_it_again(tmp_path: Path) -> None:
    state = State(Plan(("a",), ("idle",), 3, 6.0), words=["--command", "run {port}", "--duration=1h"])
    servers = {"a": named("a=run it {port}", tmp_path), "hardhttp": named("hardhttp", tmp_path)}
    servers["here"] = Running("here", Where.of("http://127.0.0.1:80/x"))
    told = facts(attrs.evolve(state, began_epoch_seconds=86_400.0 * 365), servers)
    assert told["Command"] == "hardhttp-soak --command 'run {port}' --duration=1h"
    assert "3 rounds of 6 s" in told["Run"]
    assert told["Begun"] == "1 January 1971, 00:00 UTC"
    assert "a: run it '{port}'; hardhttp: twistd -n hardhttp --listen=tcp:{port}:" in told["Servers"]
    assert "here: running at http://127.0.0.1:80/x" in told["Servers"]
    assert set(told) == {"Command", "Begun", "Run", "Servers", "Machine", "System", "Tool"}
    assert "Begun" not in facts(state, {})


def test_each_server_has_its_version_or_its_command(tmp_path: Path) -> None:
    servers = {name: named(name, tmp_path) for name in ("hardhttp", "twisted.web")}
    servers["mine"] = named("mine=run it {port}", tmp_path, {})
    told = about(servers)
    assert told["hardhttp"].startswith("hardhttp 0.")
    assert told["twisted.web"].startswith("twisted 2")
    assert told["mine"] == "run it '{port}'"
