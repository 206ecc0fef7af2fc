"""One line for each finished request, whatever its peer sent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from hardhttp.web.accesslog import FLUSH_BYTES, MAX_BUFFER_BYTES, AccessLog

LINE = re.compile(
    rb'([^ "]+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
    rb'"[^"]*" \d+ \d+ "[^"]*" "[^"]*" \d+\.\d{6} [^ "]+\n'
)


@attrs.define(slots=False)
class FinishedRequest:
    """What a finished request shows to the log."""

    method: bytes = b"GET"
    uri: bytes = b"/a?b=c"
    clientproto: bytes = b"HTTP/1.1"
    code: int = 200
    sentLength: int = 512
    elapsed_seconds: float = 0.25
    address: Any = attrs.field(factory=lambda: IPv4Address("TCP", "192.0.2.7", 4711))
    headers: dict[bytes, bytes] = attrs.field(factory=dict)
    asked: list[bytes] = attrs.field(factory=list)

    def getClientAddress(self) -> Any:
        return self.address

    def getHeader(self, name: bytes) -> bytes | None:
        self.asked.append(name)
        return self.headers.get(name)


@pytest.fixture
def clock() -> Iterator[Clock]:
    clock = Clock()
    clock.advance(1_700_000_000)
    yield clock
    assert clock.getDelayedCalls() == []


@pytest.fixture
def events() -> Iterator[list[dict[str, Any]]]:
    seen: list[dict[str, Any]] = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


def lines_of(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_line(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    headers = {b"referer": b"http://example.org/", b"user-agent": b"curl/7.88.1"}
    log(FinishedRequest(headers=headers))
    assert path.read_bytes() == b""
    clock.advance(1)
    assert path.read_bytes() == (
        b'192.0.2.7 - - [14/Nov/2023:22:13:20 +0000] "GET /a?b=c HTTP/1.1" 200 512 '
        b'"http://example.org/" "curl/7.88.1" 0.250000 -\n'
    )
    log.close()


def test_nothing_said_is_a_dash(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    log(FinishedRequest(address=UNIXAddress(None), headers={b"referer": b""}))
    log.close()
    assert path.read_bytes().startswith(b"- - - [")
    assert b'512 "-" "-" 0.25' in path.read_bytes()


def test_an_ipv6_address(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    log(FinishedRequest(address=IPv6Address("TCP", "2001:db8::7", 4711)))
    log.close()
    assert path.read_bytes().startswith(b"2001:db8::7 - - [")


@pytest.mark.parametrize("byte", [b"\n", b"\r", b"\0", b'"', b"\\", b"\x1b", b"\x7f", b"\x80", b"\xff"])
@pytest.mark.parametrize("field", ["method", "uri", "clientproto", "referer", "user-agent"])
def test_no_byte_of_a_peer_breaks_a_line(tmp_path: Path, clock: Clock, byte: bytes, field: str) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    hostile = b"a" + byte + b'b" 200 1 "-" "-'
    if field in ("referer", "user-agent"):
        log(FinishedRequest(headers={field.encode(): hostile}))
    else:
        log(FinishedRequest(**{field: hostile}))
    log.close()
    (line,) = lines_of(path)
    assert LINE.fullmatch(line)
    assert b"a\\x%02xb\\x22 200" % byte[0] in line


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=64), st.text(max_size=20))
def test_any_bytes_make_one_line(method: bytes, uri: bytes, agent: bytes, host: str) -> None:
    log = AccessLog("unused", Clock())
    request = FinishedRequest(method, uri, headers={b"user-agent": agent}, address=IPv4Address("TCP", host, 1))
    line = log._line(request)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.count(b'"') == 6
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])


def test_secrets_are_never_asked_for(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    request = FinishedRequest(headers={b"authorization": b"Basic c2VjcmV0", b"cookie": b"sid=secret"})
    log(request)
    log.close()
    assert b"c2VjcmV0" not in path.read_bytes()
    assert b"secret" not in path.read_bytes()
    assert set(request.asked) == {b"referer", b"user-agent"}


def test_the_request_s_id_comes_last(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    request = FinishedRequest()
    request.__dict__["request_id"] = "7f\n3a"
    log(request)
    log.close()
    assert path.read_bytes().endswith(b" 0.250000 7f\\x0a3a\n")


def test_a_full_buffer_is_written_at_once(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    size = len(log._line(FinishedRequest()))
    for _ in range(FLUSH_BYTES // size):
        log(FinishedRequest())
    assert path.read_bytes() == b""
    log(FinishedRequest())
    assert path.stat().st_size >= FLUSH_BYTES
    log.close()


def test_it_goes_on_in_a_file_that_was_there(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"before\n")
    log = AccessLog(str(path), clock)
    for _ in range(2):
        log.open()
        log(FinishedRequest())
        log.close()
    assert len(lines_of(path)) == 3


def test_closed_it_does_nothing(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log(FinishedRequest())
    log.flush()
    log.reopen()
    log.close()
    assert not path.exists()


def test_a_file_that_cannot_be_opened(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(OSError):
        AccessLog(str(tmp_path / "none" / "access.log"), clock).open()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError):
        AccessLog(str(tmp_path / "pipe"), clock).open()


@pytest.mark.parametrize("gone", ["moved", "removed"])
def test_a_rotated_file_is_followed(tmp_path: Path, clock: Clock, gone: str) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    log(FinishedRequest(uri=b"/1"))
    clock.advance(1)
    if gone == "moved":
        path.rename(tmp_path / "access.log.1")
    else:
        path.unlink()
    log(FinishedRequest(uri=b"/2"))
    clock.advance(1)
    log.close()
    (line,) = lines_of(path)
    assert b"/2" in line
    if gone == "moved":
        (line,) = lines_of(tmp_path / "access.log.1")
        assert b"/1" in line


def test_reopen_does_so_at_once(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    path.rename(tmp_path / "access.log.1")
    log.reopen()
    assert path.exists()
    log.close()


def test_when_a_new_file_cannot_be_opened_the_old_one_is_written(
    tmp_path: Path, clock: Clock, events: list[dict[str, Any]]
) -> None:
    folder = tmp_path / "logs"
    folder.mkdir()
    log = AccessLog(str(folder / "access.log"), clock)
    log.open()
    folder.rename(tmp_path / "moved")
    for _ in range(5):
        log(FinishedRequest())
        clock.advance(1)
    assert len(lines_of(tmp_path / "moved" / "access.log")) == 5
    assert len([event for event in events if "cannot be written" in event.get("log_format", "")]) == 1
    log.close()


class TestAStalledReader:
    """A pipe whose reader has stopped: nothing blocks, memory is bounded, losses are counted."""

    @pytest.fixture
    def pipe(self, tmp_path: Path) -> Iterator[tuple[Path, int]]:
        path = tmp_path / "pipe"
        os.mkfifo(path)
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        yield path, reader
        os.close(reader)

    def test_lines_wait_then_are_lost_then_flow_again(
        self, pipe: tuple[Path, int], clock: Clock, events: list[dict[str, Any]]
    ) -> None:
        path, reader = pipe
        log = AccessLog(str(path), clock)
        log.open()
        request = FinishedRequest(uri=b"/" + b"x" * 1000)
        size = len(log._line(request))
        count = 3 * MAX_BUFFER_BYTES // size
        for _ in range(count):
            log(request)
        assert len(log._buffer) <= MAX_BUFFER_BYTES
        assert len(log._buffer) > MAX_BUFFER_BYTES - size
        lost = log.lost_lines
        assert 0 < lost < count
        received = bytearray()
        while True:
            try:
                received += os.read(reader, 1 << 20)
            except BlockingIOError:
                if not log._buffer:
                    break
                clock.advance(1)
        log.close()
        assert len(received) == (count - lost) * size
        assert all(LINE.fullmatch(line) for line in bytes(received).splitlines(keepends=True))
        assert [event["lines"] for event in events if "were lost" in event.get("log_format", "")] == [lost]

    def test_closing_does_not_wait(self, pipe: tuple[Path, int], clock: Clock, events: list[dict[str, Any]]) -> None:
        path, _ = pipe
        log = AccessLog(str(path), clock)
        log.open()
        for _ in range(2000):
            log(FinishedRequest())
        log.close()
        assert any("were lost" in event.get("log_format", "") for event in events)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_once(clock: Clock, events: list[dict[str, Any]]) -> None:
    log = AccessLog("/dev/full", clock)
    log.open()
    for _ in range(10):
        log(FinishedRequest())
        clock.advance(1)
    assert len(log._buffer) > 0
    log.close()
    assert len([event for event in events if "cannot be written" in event.get("log_format", "")]) == 1
    assert [event["lines"] for event in events if "were lost" in event.get("log_format", "")] == [10]


def test_standard_output(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    log = AccessLog("-", clock)
    log.open()
    log(FinishedRequest())
    log.close()
    assert capfd.readouterr().out.startswith("192.0.2.7 - - [")
    os.write(1, b"still open\n")
