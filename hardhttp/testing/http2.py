"""A client that speaks HTTP/2 to a ``Rig``, by the ``h2`` library.

    peer = HTTP2Peer(rig)
    number = peer.request(b"GET", b"/")
    assert peer.response(number).status == 200

It begins with prior knowledge, takes what comes and opens its windows again, unless ``takes_bodies`` is false.
It takes no pushes, unless its settings say so (``{SettingCodes.ENABLE_PUSH: 1}``): ``streams[number].promised``.
What h2 would refuse to say is said by ``send``, as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from h2 import events
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from hardhttp.testing import Peer, Response
from hardhttp.wire.http2 import FrameCutter, Kind

if TYPE_CHECKING:
    from hardhttp.testing import Rig

__all__ = ["HTTP2Peer", "Heard"]

_NONE: Mapping[SettingCodes, int] = MappingProxyType({})
Fields = Sequence[tuple[bytes, bytes]]


class Heard:
    """What has come on one stream."""

    def __init__(self) -> None:
        self.interim: list[int] = []
        self.headers: list[tuple[bytes, bytes]] | None = None
        self.body = b""
        self.ended = False
        self.code: int | None = None  # of its reset
        self.promised: dict[int, list[tuple[bytes, bytes]]] = {}  # streams, and the requests they are for


class HTTP2Peer(Peer):
    """A client. ``streams`` are what has come, by number; ``goaways`` are (last stream, code)."""

    def __init__(
        self, rig: Rig, address: tuple[str, int] | None = None, settings: Mapping[SettingCodes, int] = _NONE
    ) -> None:
        super().__init__(rig, address or ("127.0.0.1", 1024 + len(rig.peers)))
        if address is None:
            rig.peers.append(self)
        self.takes_bodies = True
        self.streams: dict[int, Heard] = {}
        self.goaways: list[tuple[int, int]] = []
        self.pings = 0
        self._read = 0
        self._cutter = FrameCutter()
        config = H2Configuration(
            client_side=True, header_encoding=None, validate_outbound_headers=False, normalize_outbound_headers=False
        )
        self.wire = H2Connection(config)
        self.wire.local_settings = Settings(client=True, initial_values={SettingCodes.ENABLE_PUSH: 0, **settings})
        self.wire.initiate_connection()
        self.pump()
        self.protocol = self.transport.protocol

    # -- saying -------------------------------------------------------------------------------

    def request(self, method: bytes, target: bytes, fields: Fields = (), body: bytes | None = None) -> int:
        """A whole request; its number."""
        number = self.begin(method, target, fields, end=body is None)
        if body is not None:
            self.body(number, body)
        return number

    def begin(
        self, method: bytes, target: bytes, fields: Fields = (), *, end: bool = False, authority: bytes | None = b"a"
    ) -> int:
        """The head of a request."""
        pseudo = [(b":method", method), (b":scheme", b"http"), (b":path", target)]
        if authority is not None:
            pseudo.append((b":authority", authority))
        return self.headers([*pseudo, *fields], end=end)

    def headers(self, fields: Fields, *, end: bool) -> int:
        """A stream with exactly these fields, pseudo-header fields included."""
        number = self.wire.get_next_available_stream_id()
        self.streams[number] = Heard()
        self.wire.send_headers(number, fields, end_stream=end)
        self.pump()
        return number

    def body(self, number: int, data: bytes, *, end: bool = True) -> int:
        """Part of a body, as far as the server's windows allow; how much that was."""
        sent = 0
        while True:
            room = min(self.wire.local_flow_control_window(number), self.wire.max_outbound_frame_size)
            piece = data[sent : sent + room]
            sent += len(piece)
            whole = sent == len(data)
            if piece or whole:
                self.wire.send_data(number, piece, end_stream=end and whole)
            self.pump()
            heard = self.streams[number]
            if whole or not piece or heard.code is not None or heard.ended:
                return sent

    def trailers(self, number: int, fields: Fields) -> None:
        self.wire.send_headers(number, fields, end_stream=True)
        self.pump()

    def cancel(self, number: int, code: ErrorCodes = ErrorCodes.CANCEL) -> None:
        """Reset a stream."""
        self.wire.reset_stream(number, code)
        self.pump()

    # -- hearing ------------------------------------------------------------------------------

    def pump(self) -> None:
        """Say what is to be said, hear what has come, until nothing moves."""
        while True:
            data = self.wire.data_to_send()
            if data:
                self.send(data)
            came = self.received[self._read :]
            if not (came or data):
                return
            self._read += len(came)
            for kind, _, _, frame in self._cutter.cut(came):
                if kind == Kind.GOAWAY:  # of which h2 believes that nothing may come behind it
                    self.goaways.append((int.from_bytes(frame[9:13]), int.from_bytes(frame[13:17])))
                    continue
                try:
                    for event in self.wire.receive_data(frame):
                        self._hear(event)
                except ProtocolError as error:
                    raise AssertionError("the server broke the rules of HTTP/2") from error

    def _hear(self, event: Any) -> None:
        heard = self.streams.get(getattr(event, "stream_id", None) or getattr(event, "parent_stream_id", None) or 0)
        if isinstance(event, events.PingAckReceived):
            self.pings += 1
        elif heard is None:
            return
        elif isinstance(event, events.PushedStreamReceived):
            number = int(event.pushed_stream_id or 0)
            self.streams.setdefault(number, Heard())
            heard.promised[number] = [(bytes(name), bytes(value)) for name, value in event.headers or ()]
        elif isinstance(event, events.InformationalResponseReceived):
            heard.interim.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, events.ResponseReceived):
            heard.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, events.DataReceived):
            heard.body += event.data
            if self.takes_bodies and event.flow_controlled_length:
                self.wire.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, events.StreamEnded):
            heard.ended = True
        elif isinstance(event, events.StreamReset):
            heard.code = int(event.error_code)

    def response(self, number: int) -> Response:
        """The response on a stream, as far as it has come; ``ValueError`` when none has."""
        self.pump()
        heard = self.streams[number]
        if heard.headers is None:
            raise ValueError(f"no response on stream {number}; reset: {heard.code}")
        (_, status), *fields = heard.headers
        return Response(int(status), b"", tuple(fields), heard.body, heard.ended)

    def responses(self, *methods: bytes) -> list[Response]:
        """Those of all streams, in their order."""
        self.pump()
        return [self.response(number) for number in sorted(self.streams)]
