"""``--self-test``: each attack is answered by its limit, on a clone, and a limit that does not answer is said to."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
from twisted.internet.task import Clock

from hardhttp.errors import Reason
from hardhttp.limits import Limits
from hardhttp.soak import selftest
from hardhttp.soak.applications.hardhttp_app import make_root
from hardhttp.soak.selftest import ATTACKS, Answered, Attack, FasterClock, attack, line
from hardhttp.tap import selftest as tap_selftest
from hardhttp.tap.options import Options
from tests.twistd_process import ENVIRONMENT, TWISTD

pytestmark = pytest.mark.slow  # it starts real processes

SHORT = ("--head-seconds=0.3", "--idle-seconds=0.3", "--max-connections=20", "--max-headers=10")


def the_reactor() -> Any:
    from twisted.internet import reactor

    return reactor


def options(*words: str) -> Options:
    made = Options()
    made.parseOptions(list(words))
    return made


def of(limit: str, scenario: str = "") -> Attack:
    return next(each for each in ATTACKS if each.limit == limit and scenario in each.scenario)


@pytest.mark.parametrize(
    ("limit", "scenario"),
    [
        ("head_seconds", ""),
        ("max_body_bytes", ""),
        pytest.param("idle_seconds", "", marks=pytest.mark.slow),
        pytest.param("max_headers", "", marks=pytest.mark.slow),
        pytest.param("max_connections", "", marks=pytest.mark.slow),
        pytest.param("max_stream_resets", "made", marks=pytest.mark.slow),
        pytest.param("max_control_frames", "ping", marks=pytest.mark.slow),
    ],
)
@pytest_twisted.ensureDeferred
async def test_the_limit_that_was_attacked_answers(limit: str, scenario: str) -> None:
    answered = await attack(the_reactor(), options(*SHORT), of(limit, scenario))
    assert answered.well, answered
    assert answered.skipped is None
    assert answered.value == getattr(options(*SHORT).limits, limit)


@pytest_twisted.ensureDeferred
async def test_a_deadline_of_minutes_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "DEADLINE_SECONDS", 0.5)
    answered = await attack(the_reactor(), options("--idle-seconds=10m"), of("idle_seconds"))
    assert answered.well
    assert answered.faster == 1200
    assert answered.held_seconds >= 590


@pytest_twisted.ensureDeferred
async def test_a_limit_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attack by somebody harmless stands for a limit that is broken."""
    monkeypatch.setattr(selftest, "FLOOD_SECONDS", 0.2)
    answered = await attack(the_reactor(), options(), Attack("max_body_bytes", "churn", (Reason.BODY_BYTES,)))
    assert not answered.well
    assert "DID NOT ANSWER; what did: " in line(answered)


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_the_application_is_not_asked_and_its_wrappers_are_around(tmp_path: Path) -> None:
    """With a rate limit of one request the application would answer 429 to all but the first."""
    (tmp_path / "index.html").write_text("ours")
    given = options(*SHORT, f"--webroot={tmp_path}", "--rate-limit=1/h", f"--session-store=sqlite:{tmp_path}/s.db")
    answered = await attack(the_reactor(), given, of("max_headers"))
    assert answered.well
    assert not (tmp_path / "s.db").exists()


def test_every_attack_is_on_a_limit_with_a_scenario_there_is() -> None:
    fields = {field.name for field in attrs.fields(Limits)}
    for each in ATTACKS:
        assert each.limit in fields
        assert selftest._scenario(each, Limits()).name == each.scenario


def test_lines_say_which_limit_at_what_value() -> None:
    chosen = of("idle_seconds")
    assert line(Answered(chosen, 120.0, {Reason.IDLE: 3}, 121.4, 40.0)).split(maxsplit=3) == [
        "--idle-seconds",
        "2m",
        "idle",
        "idle, after 121 s (its clock ran 40 times as fast)",
    ]
    body = of("max_body_bytes")
    assert "10MiB" in line(Answered(body, 10 << 20, {Reason.BODY_BYTES: 1}, 0.0, 1.0))
    assert "not tried: why" in line(Answered(body, 10 << 20, {}, 0.0, 1.0, "why"))


def test_what_cannot_be_tried_says_why() -> None:
    assert "max-head-bytes" in str(selftest._why_not(of("max_headers"), Limits(max_headers=10_000)))
    assert selftest._why_not(of("max_headers"), Limits()) is None


def test_what_needs_a_library_that_is_not_installed_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would say that a limit has not answered."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = {attack.scenario: selftest._why_not(attack, Limits()) for attack in selftest.ATTACKS}
    assert said["silent-socket"] == said["endless-fragments"] == "a WebSocket needs wsproto, which is not installed"
    assert said["rapid-reset"] == said["ping-flood"] == "HTTP/2 needs h2, which is not installed"
    assert said["idle"] is None


def test_the_ready_tree_does_without_websockets(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object) -> None:
        raise ImportError("no wsproto")

    monkeypatch.setattr("hardhttp.soak.applications.hardhttp_app.WebSocketResource", absent)
    root = make_root(Clock())
    assert b"websocket" not in root.children
    root.close()


def test_a_faster_clock_is_faster_in_both_directions() -> None:
    clock = Clock()
    clock.advance(100)
    fast = FasterClock(clock, 10)
    called: list[float] = []
    fast.callLater(20, lambda: called.append(fast.seconds()))
    clock.advance(1.9)
    assert called == []
    clock.advance(0.1)
    assert called == [pytest.approx(120)]
    assert fast.getDelayedCalls() == []


def test_the_option_becomes_the_attack_with_the_same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(tap_selftest.os, "execv", lambda path, words: ran.append((path, words)))
    options("--self-test", "--idle-seconds=5")
    assert [words[1:] for _, words in ran] == [["-m", "hardhttp.soak.selftest", "--idle-seconds=5"]]
    options("--idle-seconds=5")
    assert len(ran) == 1


@pytest.mark.slow
def test_twistd_attacks_itself(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TWISTD, "-n", "--pidfile=", "hardhttp", "--self-test", *SHORT, "--send-seconds=1", "--body-seconds=1"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("\n--") == len(ATTACKS)
    assert "Every limit that was tried has answered." in done.stdout


@pytest.mark.slow
def test_what_is_wrong_with_the_options_is_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run(
        [*TWISTD, "-n", "--pidfile=", "hardhttp", "--self-test", "--idle-seconds=never"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "--idle-seconds" in done.stdout + done.stderr
