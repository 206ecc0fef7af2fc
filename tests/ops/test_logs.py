"""The log: lines of text and of JSON, their level, and how many a fault may make."""

from __future__ import annotations

import json
import re
from io import BytesIO, StringIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, globalLogPublisher
from twisted.web.resource import Resource

from hardhttp.errors import HTTPError
from hardhttp.ops.logs import FAILURES_PER_MINUTE, MAX_MESSAGE_CHARACTERS, MAX_PLACES, Logs
from hardhttp.testing import Rig


def log_to(format: str = "json", level: str = "info") -> tuple[Logger, StringIO, Clock, Logs]:
    file, clock = StringIO(), Clock()
    logs = Logs(file, clock, format, level)
    return Logger("hardhttp", observer=logs.observer), file, clock, logs


def lines(file: StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.getvalue().splitlines()]


def test_a_line_of_json() -> None:
    log, file, _, _ = log_to()
    log.info("{detail} ({reason}{which})", detail="no Host", reason="bad-host", which="", id="abc", secret="sesame")
    (line,) = lines(file)
    assert set(line) == {"time", "level", "namespace", "message", "reason", "request"}
    assert (line["level"], line["namespace"], line["message"]) == ("info", "hardhttp", "no Host (bad-host)")
    assert (line["reason"], line["request"]) == ("bad-host", "abc")
    assert len(line["time"]) == len("2026-11-21T16:55:47.123Z")
    assert "sesame" not in file.getvalue()


def test_a_failure_has_its_traceback() -> None:
    log, file, _, _ = log_to()
    try:
        raise RuntimeError("of the application")
    except RuntimeError:
        log.failure("request {id} failed", id="abc")
    (line,) = lines(file)
    assert line["level"] == "critical"
    assert line["message"] == "request abc failed"
    assert "of the application" in line["traceback"]


def test_text() -> None:
    log, file, _, _ = log_to("text")
    log.info("one\ntwo")
    assert file.getvalue().endswith("[hardhttp#info] one\n\ttwo\n")


def test_it_writes_bytes_where_a_file_wants_them() -> None:
    file = BytesIO()
    Logger("a", observer=Logs(file, Clock(), "json").observer).info("ü")
    assert json.loads(file.getvalue())["message"] == "ü"


@given(st.text())
def test_whatever_is_said_is_one_line_of_ascii(text: str) -> None:
    log, file, _, _ = log_to()
    log.info("{text}", text=text)
    assert file.getvalue().count("\n") == 1
    assert file.getvalue().isascii()
    assert lines(file)[0]["message"] == text


@pytest.mark.parametrize("size", [MAX_MESSAGE_CHARACTERS, MAX_MESSAGE_CHARACTERS + 1])
def test_a_message_is_bounded(size: int) -> None:
    log, file, _, _ = log_to()
    log.info("{text}", text="x" * size)
    assert len(lines(file)[0]["message"]) == MAX_MESSAGE_CHARACTERS


def test_the_level_changes_at_once() -> None:
    log, file, _, logs = log_to()
    log.debug("1")
    logs.level = "debug"
    log.debug("2")
    logs.level = "error"
    log.warn("3")  # noqa: G010
    log.error("4")
    assert [line["message"] for line in lines(file)] == ["2", "4"]
    assert logs.level == "error"


def test_what_is_no_level_or_format() -> None:
    with pytest.raises(ValueError, match="must be one of debug, info, warn, error, critical"):
        log_to(level="loud")
    with pytest.raises(ValueError, match="must be one of text, json"):
        log_to("xml")


def fail(log: Logger, place: str = "a handler failed", error: type[Exception] = RuntimeError) -> None:
    try:
        raise error
    except error:
        log.failure(place)


def test_a_fault_that_strikes_always_is_bounded_and_summed_up() -> None:
    log, file, clock, _ = log_to()
    for _ in range(1000):
        fail(log)
    fail(log, "a store failed")
    log.info("something else")
    said = [line["message"] for line in lines(file)]
    assert said == ["a handler failed"] * FAILURES_PER_MINUTE + ["a store failed", "something else"]
    clock.advance(59)
    assert len(lines(file)) == len(said)
    clock.advance(1)  # nothing fails any more: the sum is told all the same
    more = lines(file)[-1]
    assert re.fullmatch(r"990 more: RuntimeError at .*test_logs.py:\d+", more["message"])
    assert (more["level"], "traceback" in more) == ("critical", False)
    assert clock.getDelayedCalls() == []
    fail(log)
    clock.advance(60)
    fail(log)
    assert lines(file)[-1]["message"] == lines(file)[-2]["message"] == "a handler failed"
    assert clock.getDelayedCalls() == []


def test_a_page_that_always_fails_hides_no_other() -> None:
    """One sentence tells of the failures of all handlers: what counts is where they were raised."""
    log, file, clock, _ = log_to()
    for _ in range(30):
        fail(log)
    clock.advance(30)
    for _ in range(30):
        fail(log, error=KeyError)
    assert len(lines(file)) == 2 * FAILURES_PER_MINUTE
    clock.advance(60)
    sums = [line["message"].partition(" at ")[0] for line in lines(file)[2 * FAILURES_PER_MINUTE :]]
    assert sums == ["20 more: RuntimeError", "20 more: KeyError"]
    assert clock.getDelayedCalls() == []


def test_answers_of_the_applications_own_have_a_budget() -> None:
    class Full(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            raise HTTPError(503 if request.path == b"/full" else 507, "no room")

    file = StringIO()
    with Rig(Full()) as rig:
        logs = Logs(file, rig.clock, "json")
        globalLogPublisher.addObserver(logs.observer)
        try:
            for path in ["full"] * 30 + ["store"]:
                rig.exchange(f"GET /{path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
            rig.advance(61)
        finally:
            globalLogPublisher.removeObserver(logs.observer)
    said = [line["message"] for line in lines(file) if line["level"] == "warn"]
    assert len(said) == 12
    assert said[0].endswith(" failed: GET /full: 503 no room")
    assert said[10].endswith(" failed: GET /store: 507 no room")
    assert said[11] == "20 more: answers 503"


def test_places_are_bounded() -> None:
    log, file, _, _ = log_to()
    for number in range(MAX_PLACES + 50):
        fail(log, f"place {number}")
    assert len(lines(file)) == MAX_PLACES + FAILURES_PER_MINUTE


def test_refusals_have_their_reason_and_id() -> None:
    file = StringIO()
    with Rig(Resource()) as rig:
        logs = Logs(file, rig.clock, "json")
        rig.site.server._log = Logger("hardhttp", observer=logs.observer)  # type: ignore[misc]
        for _ in range(30):
            rig.exchange(b"GET /?token=sesame HTTP/1.1\r\n\r\n")
        rig.site.startFactory()
        rig.advance(61)
        rig.site.stopFactory()
    said = lines(file)
    assert len(said) == 11
    assert said[0]["reason"] == "bad-host"
    assert said[0]["request"] in said[0]["message"]
    assert said[0]["peer"] == "127.0.0.1"
    assert said[-1]["message"] == "20 more: bad-host"
    assert "sesame" not in file.getvalue()
