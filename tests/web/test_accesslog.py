"""One line for each finished request, whatever its peer sent."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher
from twisted.web.server import NOT_DONE_YET

from hardhttp import Limits
from hardhttp.errors import Reason
from hardhttp.net.server import LINES_PER_MINUTE
from hardhttp.testing import Rig
from hardhttp.web.accesslog import (
    BATCH_ENTRIES,
    FLUSH_BYTES,
    MAX_BUFFER_BYTES,
    MIN_ROTATE_BYTES,
    AccessLog,
)
from hardhttp.web.loglines import SECRET_PARAMETERS, Lines, entry, masked
from hardhttp.wire.head import Head
from tests.net.loopback import Answer
from tests.web.saying import say

LINE = re.compile(
    rb'([^ "]+) - - \[\d\d/[A-Z][a-z]{2}/\d{4}:\d\d:\d\d:\d\d \+0000\] '
    rb'"[^"]*" \d+ \d+ "[^"]*" "[^"]*" \d+\.\d{6} [^ "]+ [^ "]+\n'
)
NOBODY = SimpleNamespace(trusts_any=False)


@attrs.define(slots=False)
class FinishedRequest:
    """What a finished request shows to the log."""

    method: bytes = b"GET"
    uri: bytes = b"/a?b=c"
    clientproto: bytes = b"HTTP/1.1"
    code: int = 200
    sentLength: int = 512
    elapsed_seconds: float = 0.25
    client: Any = attrs.field(factory=lambda: IPv4Address("TCP", "192.0.2.7", 4711))
    headers: dict[bytes, bytes] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        lines = b"".join(b"\r\n%s: %s" % field for field in self.headers.items())
        self.head = Head(self.method, self.uri, self.clientproto, lines + b"\r\n\r\n")
        self.channel = SimpleNamespace(server=NOBODY, isSecure=lambda: False)


def line_of(request: Any, form: str = "combined", reason: Reason | None = None) -> bytes:
    return Lines(form).batch([entry(1_700_000_000.25, request, request.code, reason)])


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
        b'"http://example.org/" "curl/7.88.1" 0.250000 - -\n'
    )
    log.close()


def test_nothing_said_is_a_dash(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    log(FinishedRequest(client=UNIXAddress(None), headers={b"referer": b""}))
    log.close()
    assert path.read_bytes().startswith(b"unix - - [")
    assert b'512 "-" "-" 0.25' in path.read_bytes()


def test_an_ipv6_address(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    log(FinishedRequest(client=IPv6Address("TCP", "2001:db8::7", 4711)))
    log.close()
    assert path.read_bytes().startswith(b"2001:db8::7 - - [")


@pytest.mark.parametrize("byte", [b"\n", b"\r", b"\0", b'"', b"\\", b"\x1b", b"\x7f", b"\x80", b"\xff"])
@pytest.mark.parametrize("field", ["method", "uri", "referer", "user-agent"])
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
    if byte not in b"\r\n" or field in ("method", "uri"):  # in a head that was parsed there is neither
        assert b"a\\x%02xb\\x22 200" % byte[0] in line


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=64), st.text(max_size=20))
def test_any_bytes_make_one_line(method: bytes, uri: bytes, agent: bytes, host: str) -> None:
    request = FinishedRequest(method, uri, headers={b"user-agent": agent}, client=IPv4Address("TCP", host, 1))
    line = line_of(request)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert line.count(b'"') == 6
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])


@given(st.binary(max_size=64), st.binary(max_size=64), st.binary(max_size=64), st.text(max_size=20))
def test_any_bytes_make_one_object(method: bytes, uri: bytes, agent: bytes, host: str) -> None:
    request = FinishedRequest(method, uri, headers={b"user-agent": agent}, client=IPv4Address("TCP", host, 1))
    line = line_of(request, "json")
    assert line.count(b"\n") == 1
    assert line.isascii()
    said = json.loads(line)
    assert said["method"].encode("latin-1") == method
    assert said["target"].encode("latin-1") == masked(uri)
    if agent.strip(b" \t").translate(None, b"\r\n") == agent:
        assert (said["agent"] or "").encode("latin-1") == agent


def test_an_object() -> None:
    headers = {b"Referer": b"http://example.org/?token=1", b"USER-AGENT": b'x\xc3\xbc"y'}
    assert json.loads(line_of(FinishedRequest(headers=headers), "json", Reason.SEND_RATE)) == {
        "time": "2023-11-14T22:13:20.250Z",
        "address": "192.0.2.7",
        "method": "GET",
        "target": "/a?b=c",
        "version": "HTTP/1.1",
        "status": 200,
        "bytes": 512,
        "seconds": 0.25,
        "referer": "http://example.org/?token=***",
        "agent": 'x\xc3\xbc"y',
        "id": None,
        "reason": "send-rate",
        "tls": False,
    }


def test_secrets_are_never_asked_for() -> None:
    request = FinishedRequest(headers={b"authorization": b"Basic c2VjcmV0", b"cookie": b"sid=secret; referer: x"})
    for form in ("combined", "json"):
        line = line_of(request, form)
        assert b"c2VjcmV0" not in line
        assert b"secret" not in line


@pytest.mark.parametrize(
    ("target", "written"),
    [
        (b"/?access_token=abc", b"/?access_token=***"),
        (b"/?a=b&Access_Token=abc&c=d", b"/?a=b&Access_Token=***&c=d"),
        (b"/.well-known/mercure?topic=a&authorization=ey.J.x", b"/.well-known/mercure?topic=a&authorization=***"),
        (b"/?a=1;password=abc", b"/?a=1;password=***"),
        (b"/?user[password]=abc&user%5Bpassword%5D=abc", b"/?user[password]=***&user%5Bpassword%5D=***"),
        (b"/?user.token=abc", b"/?user.token=***"),
        (b"/?acces%73_token=abc", b"/?acces%73_token=***"),
        (b"/?token=a=b=c", b"/?token=***"),
        (b"/?+token=abc&%20pwd%20=abc", b"/?+token=***&%20pwd%20=***"),
        (b"/?token=a?token=b", b"/?token=***?token=***"),
        (b"/?token=", b"/?token="),
        (b"/?token", b"/?token"),
        (b"/token=abc", b"/token=abc"),
        (b"/?tokens=1&mytoken=2&a=token", b"/?tokens=1&mytoken=2&a=token"),
        (b"http://a/?sid=1#token=abc", b"http://a/?sid=***#token=***"),
        (b"*", b"*"),
    ],
)
def test_values_of_secret_parameters_are_not_written(target: bytes, written: bytes) -> None:
    assert masked(target) == written
    assert b'"GET %s HTTP/1.1"' % written in line_of(FinishedRequest(uri=target))
    assert b'"%s" "-"' % written.partition(b"#")[0] in line_of(FinishedRequest(headers={b"referer": target}))


def test_of_a_referer_neither_userinfo_nor_fragment_is_written() -> None:
    for referer, written in (
        (b"https://me:secret@a/@b?c@d#access_token=secret", b"https://a/@b?c@d"),
        (b"//secret@a", b"//a"),
        (b"https://a/?x=//b@c", b"https://a/?x=//b@c"),
        (b"#secret", b"-"),
    ):
        assert b'"%s" "-"' % written in line_of(FinishedRequest(headers={b"referer": referer}))


@pytest.mark.parametrize("name", sorted(SECRET_PARAMETERS))
def test_each_secret_parameter(name: bytes) -> None:
    assert masked(b"/?" + name + b"=abc") == b"/?" + name + b"=***"


def test_the_request_s_id_and_the_reason_come_last() -> None:
    request = FinishedRequest()
    request.__dict__["request_id"] = "7f\n3a"
    assert line_of(request).endswith(b" 0.250000 7f\\x0a3a -\n")
    assert line_of(request, reason=Reason.CLIENT_RESET).endswith(b" 7f\\x0a3a client-reset\n")


def test_a_full_buffer_is_written_at_once(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    size = len(line_of(FinishedRequest()))
    batches = -(-FLUSH_BYTES // (size * BATCH_ENTRIES))
    for _ in range(batches * BATCH_ENTRIES - 1):
        log(FinishedRequest())
    assert path.read_bytes() == b""
    log(FinishedRequest())
    assert path.stat().st_size >= FLUSH_BYTES
    log.close()


def test_large_heads_are_not_kept_for_long(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.open()
    for _ in range(5):
        log(FinishedRequest(uri=b"/" + b"x" * 16_000))
    assert len(log._entries) < 5
    assert not log._lines._told
    log.close()
    assert len(lines_of(path)) == 5


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
        size = len(line_of(request))
        count = 3 * MAX_BUFFER_BYTES // size
        for _ in range(count):
            log(request)
        log.flush()
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


class TestRotation:
    """By size and count, between lines, and only where the file is ours by its name."""

    def rotating(self, tmp_path: Path, clock: Clock, count: int = 2) -> AccessLog:
        log = AccessLog(str(tmp_path / "access.log"), clock, rotate_bytes=MIN_ROTATE_BYTES, rotate_count=count)
        log.open()
        return log

    def fill(self, log: AccessLog, clock: Clock, mark: int) -> None:
        """Write a little more than a half of what a file may hold."""
        target = b"/%d/" % mark + b"x" * 1000
        for _ in range(MIN_ROTATE_BYTES // 2 // 1000):
            log(FinishedRequest(uri=target))
        log.flush()

    def test_the_oldest_goes(self, tmp_path: Path, clock: Clock) -> None:
        log = self.rotating(tmp_path, clock)
        for mark in range(5):
            self.fill(log, clock, mark)
        log.close()
        names = sorted(path.name for path in tmp_path.iterdir())
        assert names == ["access.log", "access.log.1", "access.log.2"]
        for name, mark in (("access.log", 4), ("access.log.1", 3), ("access.log.2", 2)):
            lines = lines_of(tmp_path / name)
            assert all(LINE.fullmatch(line) and b"/%d/" % mark in line for line in lines)
            assert stat.S_IMODE((tmp_path / name).stat().st_mode) & 0o137 == 0

    def test_a_file_grows_to_its_bound_and_no_further(self, tmp_path: Path, clock: Clock) -> None:
        log = self.rotating(tmp_path, clock)
        size = len(line_of(FinishedRequest()))
        path = tmp_path / "access.log"
        path.write_bytes(b"x" * (MIN_ROTATE_BYTES - size - 1) + b"\n")
        log(FinishedRequest())
        log.flush()
        assert path.stat().st_size == MIN_ROTATE_BYTES
        assert not (tmp_path / "access.log.1").exists()
        log(FinishedRequest())
        log.flush()
        assert path.stat().st_size == size
        assert (tmp_path / "access.log.1").stat().st_size == MIN_ROTATE_BYTES
        log.close()

    def test_none_is_kept(self, tmp_path: Path, clock: Clock) -> None:
        log = self.rotating(tmp_path, clock, count=0)
        for mark in range(3):
            self.fill(log, clock, mark)
        log.close()
        assert [path.name for path in tmp_path.iterdir()] == ["access.log"]
        assert all(b"/2/" in line for line in lines_of(tmp_path / "access.log"))

    def test_where_no_file_can_be_made_the_old_one_goes_on(
        self, tmp_path: Path, clock: Clock, events: list[dict[str, Any]]
    ) -> None:
        """And what is kept is not shifted away for it."""
        log = self.rotating(tmp_path, clock)
        self.fill(log, clock, 0)
        original = log._descriptor
        log._descriptor = failing  # type: ignore[method-assign]
        for mark in range(1, 5):
            self.fill(log, clock, mark)
        assert len([event for event in events if "cannot be written" in event.get("log_format", "")]) == 1
        assert sorted(path.name for path in tmp_path.iterdir()) == ["access.log.1"]
        log._descriptor = original  # type: ignore[method-assign]
        self.fill(log, clock, 5)
        log.close()
        assert b"/5/" in lines_of(tmp_path / "access.log")[0]
        assert len(lines_of(tmp_path / "access.log.1")) == 5 * (MIN_ROTATE_BYTES // 2 // 1000)

    def test_a_line_is_never_cut_in_two(self, tmp_path: Path, clock: Clock) -> None:
        log = self.rotating(tmp_path, clock)
        self.fill(log, clock, 0)
        log._cut = True  # a full disk took half a line
        self.fill(log, clock, 1)
        assert not (tmp_path / "access.log.1").exists()
        self.fill(log, clock, 2)
        assert (tmp_path / "access.log.1").exists()
        log.close()

    @pytest.mark.parametrize(
        ("options", "named"),
        [
            ({"rotate_bytes": MIN_ROTATE_BYTES - 1}, "rotate_bytes"),
            ({"rotate_count": -1}, "rotate_count"),
            ({"rotate_count": 1001}, "rotate_count"),
            ({"format": "common"}, "format"),
        ],
    )
    def test_bounds(self, clock: Clock, options: dict[str, Any], named: str) -> None:
        with pytest.raises(ValueError, match=named):
            AccessLog("unused", clock, **options)
        AccessLog("unused", clock, rotate_bytes=MIN_ROTATE_BYTES, rotate_count=1000, format="json")


def failing() -> int:
    raise OSError("no")


def test_hang_up_writes_the_old_file_to_its_end(tmp_path: Path, clock: Clock, events: list[dict[str, Any]]) -> None:
    path = tmp_path / "access.log"
    log = AccessLog(str(path), clock)
    log.hang_up()  # not open: nothing to do
    log.open()
    log(FinishedRequest(uri=b"/1"))
    path.rename(tmp_path / "old")
    log.hang_up()
    log(FinishedRequest(uri=b"/2"))
    log._descriptor = failing  # type: ignore[method-assign]
    log.hang_up()
    assert any("cannot be written" in event.get("log_format", "") for event in events)
    log.close()
    assert [b"/1" in line for line in lines_of(tmp_path / "old")] == [True]
    assert [b"/2" in line for line in lines_of(path)] == [True]


@pytest.mark.parametrize("moved", [True, False])
def test_a_line_is_never_continued_in_another_file(
    moved: bool, tmp_path: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "access.log"
    before = b"x" * (MIN_ROTATE_BYTES - 301) + b"\n"
    path.write_bytes(before)
    log = AccessLog(str(path), clock, rotate_bytes=MIN_ROTATE_BYTES)
    log.open()
    log(FinishedRequest(uri=b"/1"))
    log(FinishedRequest(uri=b"/2"))
    write, full = os.write, path.stat().st_ino

    def nearly_full(fd: int, data: bytes) -> int:
        status = os.fstat(fd)
        if status.st_ino == full and status.st_size > len(before):
            raise OSError(errno.ENOSPC, "full")
        return write(fd, data[:40] if status.st_ino == full else data)

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", nearly_full)
        log.flush()
        if moved:
            path.rename(tmp_path / "old")
        log.hang_up()
    for _ in range(4):
        log(FinishedRequest(uri=b"/3"))
    log.close()  # it would rotate, were it not within a line
    lines = [line for line in lines_of(path) if not line.startswith(b"x")]
    assert len(lines) == (5 if moved else 6)  # a file moved away ends within a line, as it must
    assert all(line.startswith(b"192.0.2.") for line in lines)
    assert not (tmp_path / "access.log.1").exists()


def test_hang_up_rotates_a_file_that_has_no_room(tmp_path: Path, clock: Clock) -> None:
    path = tmp_path / "access.log"
    path.write_bytes(b"x" * (MIN_ROTATE_BYTES - 1) + b"\n")
    log = AccessLog(str(path), clock, rotate_bytes=MIN_ROTATE_BYTES)
    log.open()
    log(FinishedRequest(uri=b"/1"))
    log.hang_up()
    assert [b"/1" in line for line in lines_of(path)] == [True]
    assert (tmp_path / "access.log.1").stat().st_size == MIN_ROTATE_BYTES
    log.close()


class TestWhatIsRefused:
    """A request that was refused, or not answered whole, has its line, with the reason."""

    @pytest.fixture
    def log(self, tmp_path: Path) -> Path:
        return tmp_path / "access.log"

    def rig(self, log: Path, resource: Any, **limits: Any) -> Rig:
        rig = Rig(resource, limits=Limits(**limits))
        rig.site.access_log = AccessLog(str(log), rig.clock, format="json")
        rig.site.access_log.open()
        return rig

    def said(self, rig: Rig, log: Path) -> list[dict[str, Any]]:
        rig.site.access_log.close()
        return [json.loads(line) for line in lines_of(log)]

    @pytest.mark.parametrize(
        ("data", "status", "reason", "method"),
        [
            (b"GET / HTTP/1.1\r\n\r\n", 400, "bad-host", None),
            (b"GET /\n\n" + b"\r\n\r\n", 400, "bad-request-line", None),
            (b"GET /" + b"x" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target-bytes", None),
            (b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 2000 + b"\r\n\r\n", 431, "head-bytes", None),
            (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "bad-version", None),
            (say(b"POST", b"/x", b"x" * 100), 413, "body-bytes", "POST"),
            (say(b"PUT", b"/x", Transfer_Encoding=b"chunked") + b"nonsense\r\n", 400, "bad-chunk", "PUT"),
        ],
    )
    def test_heads_and_bodies(self, log: Path, data: bytes, status: int, reason: str, method: str | None) -> None:
        resource = Answer(lambda request: b"")
        with self.rig(log, resource, max_target_bytes=100, max_head_bytes=1024, max_body_bytes=99) as rig:
            peer = rig.connect("192.0.2.7")
            peer.send(data)
            assert peer.responses()[0].status == status
            (line,) = self.said(rig, log)
            assert (line["status"], line["reason"], line["method"]) == (status, reason, method)
            assert line["address"] == "192.0.2.7"
            assert len(line["id"]) == 16

    def test_what_a_handler_refuses_is_one_line(self, log: Path) -> None:
        resource = Answer(lambda request: request.args and b"")
        with self.rig(log, resource, max_form_fields=2) as rig:
            rig.exchange(say(target=b"/?a=1&b=2&c=3"))
            (line,) = self.said(rig, log)
            assert (line["status"], line["reason"], line["target"]) == (413, "form-fields", "/?a=1&b=2&c=3")

    def test_deadlines(self, log: Path) -> None:
        with self.rig(log, Answer(lambda request: NOT_DONE_YET), handling_seconds=5, head_seconds=3) as rig:
            peer, slow, silent = rig.connect(), rig.connect(), rig.connect()
            peer.send(say())
            slow.send(b"GET / HTT")
            rig.advance(6)
            assert silent.closed
            late, early = sorted(self.said(rig, log), key=lambda line: line["reason"])
            assert (late["status"], late["reason"], late["method"]) == (503, "handling-seconds", "GET")
            assert late["seconds"] == 5
            assert (early["status"], early["reason"], early["method"]) == (408, "head-seconds", None)

    @pytest.mark.parametrize(
        ("how", "begun", "status", "reason"),
        [
            ("reset", False, 499, "client-reset"),
            ("reset", True, 200, "client-reset"),
            ("half_close", False, 499, "client-closed"),
            ("drain", False, 444, "drain-seconds"),
            ("drain", True, 200, "drain-seconds"),
        ],
    )
    def test_a_response_that_was_never_whole(self, log: Path, how: str, begun: bool, status: int, reason: str) -> None:
        def answer(request: Any) -> Any:
            if begun:
                request.write(b"half")
            return NOT_DONE_YET

        with self.rig(log, Answer(answer), drain_seconds=1) as rig:
            peer = rig.connect()
            peer.send(say())
            if how == "drain":
                rig.site.drain()
                rig.advance(2)
            else:
                getattr(peer, how)()
            (line,) = self.said(rig, log)
            assert (line["status"], line["reason"], line["bytes"]) == (status, reason, 4 * begun)

    def test_a_client_that_takes_too_slowly(self, log: Path) -> None:
        """Also after the whole response was written: that was logged as such, and this is another line."""
        with self.rig(log, Answer(lambda request: b"x" * 1_000_000), send_seconds=10) as rig:
            peer = rig.connect()
            peer.take(0)
            peer.send(say())
            rig.advance(12)
            assert peer.aborted
            whole, cut = self.said(rig, log)
            assert (whole["status"], whole["reason"]) == (200, None)
            assert (cut["status"], cut["reason"], cut["method"]) == (444, "send-rate", None)

    def test_a_client_that_takes_a_stream_too_slowly(self, log: Path) -> None:
        def answer(request: Any) -> Any:
            request.write(b"x" * 1_000_000)
            return NOT_DONE_YET

        with self.rig(log, Answer(answer), send_seconds=10) as rig:
            peer = rig.connect()
            peer.take(0)
            peer.send(say())
            rig.advance(12)
            (line,) = self.said(rig, log)
            assert (line["status"], line["reason"], line["method"]) == (200, "send-rate", "GET")

    def test_connections_that_are_not_admitted(self, log: Path) -> None:
        with self.rig(log, Answer(lambda request: b""), max_connections_per_address=1) as rig:
            rig.connect("192.0.2.7")
            rig.connect("192.0.2.7")
            (line,) = self.said(rig, log)
            assert (line["status"], line["reason"], line["address"]) == (
                503,
                "connections-per-address",
                "192.0.2.7",
            )

    def test_a_flood_of_bad_heads_fills_no_disk(self, log: Path) -> None:
        with self.rig(log, Answer(lambda request: b""), max_connections=10_000) as rig:
            for _ in range(LINES_PER_MINUTE + 50):
                rig.exchange(b"nonsense\r\n\r\n")
            rig.exchange(b"GET / HTTP/1.1\r\n\r\n")
            assert rig.site.statistics.refused["bad-request-line"] == LINES_PER_MINUTE + 50
            lines = self.said(rig, log)
            assert [line["reason"] for line in lines].count("bad-request-line") == LINES_PER_MINUTE
            assert [line["reason"] for line in lines].count("bad-host") == 1

    def test_a_log_that_fails_costs_itself(self, log: Path) -> None:
        class Broken:
            def refused(self, *args: Any) -> None:
                raise RuntimeError("no")

            unfinished = __call__ = refused

        with Rig(Answer(lambda request: NOT_DONE_YET)) as rig:
            rig.site.access_log = Broken()
            assert rig.exchange(b"nonsense\r\n\r\n")[0].status == 400
            peer = rig.connect()
            peer.send(say())
            peer.reset()
            assert [failure.type for failure in rig.flush()] == [RuntimeError] * 2

    def test_a_plain_function_is_told_of_finished_requests_alone(self) -> None:
        seen: list[Any] = []
        with Rig(Answer(lambda request: b"")) as rig:
            rig.site.access_log = seen.append
            rig.exchange(b"nonsense\r\n\r\n")
            rig.exchange(say())
            assert len(seen) == 1


# -- several processes --------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path: Path, clock: Clock) -> Iterator[tuple[AccessLog, AccessLog]]:
    """Of one file, as two processes have them; full, but for a line."""
    path = tmp_path / "access.log"
    path.write_bytes(b"x" * (MIN_ROTATE_BYTES - 10) + b"\n")
    logs = [AccessLog(str(path), clock, rotate_bytes=MIN_ROTATE_BYTES, rotate_count=3) for _ in range(2)]
    for log in logs:
        log.open()
    yield logs[0], logs[1]
    for log in logs:
        log.close()


def test_who_comes_second_follows_and_does_not_rotate_again(tmp_path: Path, two: Any, monkeypatch: Any) -> None:
    first, second = two
    lock = fcntl.flock

    def late(fd: int, how: int) -> None:
        monkeypatch.setattr("hardhttp.web.accesslog.fcntl.flock", lock)
        first.flush()  # between the second's look at the size and its lock
        lock(fd, how)

    for log in two:
        log(FinishedRequest())
    monkeypatch.setattr("hardhttp.web.accesslog.fcntl.flock", late)
    second.flush()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["access.log", "access.log.1"]
    assert len(LINE.findall((tmp_path / "access.log").read_bytes())) == 2


def test_while_another_rotates_nobody_does(tmp_path: Path, two: Any) -> None:
    first, second = two
    first(FinishedRequest())
    fcntl.flock(second._fd, fcntl.LOCK_EX)
    first.flush()
    assert [each.name for each in tmp_path.iterdir()] == ["access.log"]
    fcntl.flock(second._fd, fcntl.LOCK_UN)
    first(FinishedRequest())
    first.flush()
    second(FinishedRequest())
    second.flush()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["access.log", "access.log.1"]
    text = (tmp_path / "access.log.1").read_bytes() + (tmp_path / "access.log").read_bytes()
    assert len(LINE.findall(text)) == 3
