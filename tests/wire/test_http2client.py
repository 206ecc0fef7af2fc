"""A client's half of the frames: what it begins with, and how requests are encoded."""

from __future__ import annotations

import hpack
import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RemoteSettingsChanged, RequestReceived, WindowUpdated

from hardhttp.wire.http2 import ErrorCodes, headers_frames
from hardhttp.wire.http2client import ClientWire, WireBounds, WireStream, encode_fields, reset_frame, window_frame

BOUNDS = WireBounds(1024, 10, 100, 100, 65_536)
FIELDS = [
    (b":method", b"GET"),
    (b":scheme", b"https"),
    (b":authority", b"a.example"),
    (b":path", b"/" + b"x" * 200),
    (b"Accept", b"*/*"),
    (b"Cookie", b"secret"),
    (b"Connection", b"close"),
]
SAID = [*FIELDS[:4], (b"accept", b"*/*"), (b"cookie", b"secret")]


def test_a_block_is_what_others_decode() -> None:
    decoded = hpack.Decoder().decode(encode_fields(FIELDS), raw=True)
    assert [(bytes(name), bytes(value)) for name, value in decoded] == SAID
    assert isinstance(decoded[-1], hpack.NeverIndexedHeaderTuple)


@pytest.mark.parametrize("window", [1024, 65_536, (1 << 31) - 1])
def test_h2_understands_it(window: int) -> None:
    wire = ClientWire(BOUNDS._replace(stream_window_bytes=window), 0.0)
    server = H2Connection(H2Configuration(client_side=False, header_encoding=None))
    server.initiate_connection()
    stream = wire.open(WireStream)
    assert (stream.number, wire.next_number) == (1, 3)
    said = wire.greeting() + headers_frames(1, wire.head_block(FIELDS), end=True)
    events = server.receive_data(said + window_frame(1, 5) + reset_frame(1, ErrorCodes.CANCEL))
    (settings,) = (event for event in events if isinstance(event, RemoteSettingsChanged))
    assert {int(code): change.new_value for code, change in settings.changed_settings.items()} == {
        2: 0,
        4: window,
        6: 1024 + 320,
    }
    (request,) = (event for event in events if isinstance(event, RequestReceived))
    assert [(bytes(name), bytes(value)) for name, value in request.headers] == SAID
    assert [event.delta for event in events if isinstance(event, WindowUpdated) and event.stream_id == 0] == (
        [min(4 * window, (1 << 31) - 1) - 65_535] if window > 1024 * 16 else []
    )


def test_the_table_is_given_up_once() -> None:
    wire = ClientWire(BOUNDS, 0.0)
    first, second = wire.head_block(FIELDS), wire.head_block(FIELDS)
    assert first == b"\x20" + second
