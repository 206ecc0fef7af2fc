"""The rig of HTTP/2: servers whose every frame a test decides.

A ``Server2`` reads what the client says into ``asked``, by stream, and says frames: well-formed ones by name, any
others by ``frame``. It sends its SETTINGS when the client's handshake is done, unless the rig is ``silent``.
"""

from __future__ import annotations

from typing import Any

from hpack import Decoder, Encoder

from hardhttp.wire.http2 import PREFACE, FrameCutter, Kind
from tests.client.rig import ClientRig, SecureWire, Server

__all__ = ["Asked", "Rig2", "Server2", "frame"]

END_STREAM, END_HEADERS, ACK = 0x1, 0x4, 0x1


def frame(kind: int, flags: int, number: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + number.to_bytes(4) + payload


class Asked:
    """What a client has said on one stream."""

    def __init__(self) -> None:
        self.fields: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.ended = False
        self.code: int | None = None
        self.window = 0  # given back


class Server2(Server):
    def __init__(self, protocol: Any, wire: Any) -> None:
        super().__init__(protocol, wire)
        self.asked: dict[int, Asked] = {}
        self.pings: list[bytes] = []
        self.goaways: list[tuple[int, int]] = []
        self.settings: dict[int, int] = {}
        self.window = 0
        self.acks = 0
        self._cutter = FrameCutter()
        self._decoder = Decoder()
        self._encoder = Encoder()
        self._greeted = False

    # -- hearing

    def hear(self) -> dict[int, Asked]:
        data = self.received
        if not self._greeted and data:
            assert data.startswith(PREFACE)
            data = data[len(PREFACE) :]
            self._greeted = True
        for kind, flags, number, octets in self._cutter.cut(data):
            self._hear(kind, flags, number, octets[9:])
        return self.asked

    def _hear(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        asked = self.asked.get(number)
        if kind == Kind.HEADERS:
            assert asked is None
            assert flags & END_HEADERS
            asked = self.asked[number] = Asked()
            asked.fields = [(bytes(n), bytes(v)) for n, v in self._decoder.decode(payload, raw=True)]
            asked.ended = bool(flags & END_STREAM)
        elif kind == Kind.DATA:
            assert asked is not None
            assert not asked.ended
            asked.body += payload
            asked.ended = bool(flags & END_STREAM)
        elif kind == Kind.RST_STREAM:
            assert asked is not None
            asked.code = int.from_bytes(payload)
        elif kind == Kind.SETTINGS:
            if flags & ACK:
                self.acks += 1
            for at in range(0, len(payload), 6):
                self.settings[int.from_bytes(payload[at : at + 2])] = int.from_bytes(payload[at + 2 : at + 6])
        elif kind == Kind.PING:
            self.pings.append(payload)
        elif kind == Kind.GOAWAY:
            self.goaways.append((int.from_bytes(payload[:4]), int.from_bytes(payload[4:8])))
        elif kind == Kind.WINDOW_UPDATE and asked is not None:
            asked.window += int.from_bytes(payload)
        elif kind == Kind.WINDOW_UPDATE:
            self.window += int.from_bytes(payload)

    # -- saying

    def say_settings(self, **values: int) -> None:
        codes = {"streams": 3, "window": 4, "push": 2, "frame": 5}
        payload = b"".join(codes[name].to_bytes(2) + value.to_bytes(4) for name, value in values.items())
        self.send(frame(Kind.SETTINGS, 0, 0, payload))

    def head(self, number: int, status: int = 200, *fields: tuple[bytes, bytes], end: bool = False) -> None:
        self.fields(number, (b":status", b"%d" % status), *fields, end=end)

    def fields(self, number: int, *fields: tuple[bytes, bytes], end: bool = False) -> None:
        self.send(self.head_frame(number, *fields, end=end))

    def head_frame(self, number: int, *fields: tuple[bytes, bytes], end: bool = False) -> bytes:
        return frame(Kind.HEADERS, END_HEADERS | end, number, self._encoder.encode(fields))

    def data(self, number: int, data: bytes = b"", *, end: bool = False) -> None:
        self.send(frame(Kind.DATA, int(end), number, data))

    def answer(self, number: int, body: bytes = b"hi") -> None:
        self.head(number)
        self.data(number, body, end=True)

    def reset(self, number: int, code: int = 8) -> None:
        self.send(frame(Kind.RST_STREAM, 0, number, code.to_bytes(4)))

    def goaway(self, last: int, code: int = 0) -> None:
        self.send(frame(Kind.GOAWAY, 0, 0, last.to_bytes(4) + code.to_bytes(4)))

    def open_window(self, number: int, more: int) -> None:
        self.send(frame(Kind.WINDOW_UPDATE, 0, number, more.to_bytes(4)))


class Rig2(ClientRig):
    """``silent`` servers send no SETTINGS; ``choosing`` is what the next handshakes agree on."""

    server_class = Server2
    servers: list[Any]

    def __init__(self, answers: bool = True, silent: bool = False, choosing: bytes = b"h2", **limits: Any) -> None:
        self.silent = silent
        self.choosing = choosing
        self.shakes = True
        super().__init__(answers, secure=True, **limits)

    def ask(self, method: bytes = b"GET", uri: bytes = b"https://a.example/", *args: Any, **options: Any) -> Any:
        outcome = super().ask(method, uri, *args, **options)
        for server in self.servers:
            if server.protocol.phase.name == "HANDSHAKE" and self.shakes:
                self.shake(server)
        return outcome

    def shake(self, server: Any) -> None:
        """End the handshake."""
        wire: SecureWire = server.wire
        wire.negotiatedProtocol = self.choosing
        server.protocol.handshakeCompleted()
        if self.choosing == b"h2" and not self.silent:
            server.say_settings()
