"""TLS over a fast port.

Certificates that look after their files (``hardhttp.net.certificatestore``) do so while the port listens. A
handshake that fails is counted, with its reason, by the connection it was for.

Twisted's memory-BIO protocol, with one thing known beforehand: when what has come is exactly one
whole record, and it held application data, then nothing more is to be read and nothing to be sent.
The stock protocol learns both by catching exceptions, two for every request.
"""

from __future__ import annotations

from typing import Any

from OpenSSL.SSL import Error
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol

from hardhttp.net.certificatestore import Certificates
from hardhttp.net.records import BUFFER_BYTES, RECORD_BYTES, read_record, write_record
from hardhttp.net.tlspolicy import said_by

__all__ = ["TLSFactory"]

_HEADER_BYTES = 5  # RFC 8446, 5.1: type, version, length
_APPLICATION_DATA = 23
# What OpenSSL calls a request in the clear; whoever makes it is told what is wrong, and nothing else.
_PLAIN_HTTP = "http request"
_PLAIN_ANSWER = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nContent-Length: 37\r\nConnection: close\r\n\r\n"
    b"This port speaks TLS: ask by https.\r\n"
)


class TLSProtocol(TLSMemoryBIOProtocol):
    """Reads and writes single records without asking twice (``hardhttp.net.records``)."""

    transport: Any
    _reason: Any
    _record_left = 0  # bytes still to come of a record, or -1: not known any more

    def dataReceived(self, data: bytes) -> None:
        whole = self._record_left == 0 and len(data) > _HEADER_BYTES and data[0] == _APPLICATION_DATA
        if whole and len(data) == _HEADER_BYTES + (data[3] << 8 | data[4]) and self._quiet():
            try:
                plain = read_record(self._tlsConnection, data)
            except Error:
                self._flushReceiveBIO()  # no data after all: an alert, a key update
                return
            if not self._aborted:
                self.wrappedProtocol.dataReceived(plain)
            return
        self._follow(data)
        super().dataReceived(data)

    def write(self, data: bytes) -> None:
        if not data or len(data) > RECORD_BYTES or self.disconnecting or not self._quiet():
            super().write(data)
            return
        try:
            record = write_record(self._tlsConnection, data)
        except Error:
            super().write(data)  # the same bytes again, as OpenSSL asks; what is wrong is handled there
        else:
            self.transport.write(record)
            if len(record) == BUFFER_BYTES:
                self._flushSendBIO()  # something else was waiting

    def _tlsShutdownFinished(self, reason: Any) -> None:
        failed = not self._handshakeDone and not self._lostTLSConnection and reason is not None
        why = said_by(reason.value) if failed and reason.check(Error) else ""
        if why == _PLAIN_HTTP:
            self.transport.write(_PLAIN_ANSWER)
        super()._tlsShutdownFinished(reason)
        told = getattr(self.wrappedProtocol, "handshake_failed", None)
        if failed and told is not None and self._reason.check(Error):  # who leaves half-way has done no wrong
            told(why)
        if reason is not None:
            # Twisted keeps the failure in a frame that its traceback holds: a circle around the whole connection.
            reason.cleanFailure()

    def _quiet(self) -> bool:
        return self._handshakeDone and not self._appSendBuffer and not self._lostTLSConnection

    def _follow(self, data: bytes) -> None:
        """Note whether ``data`` ends where a record does."""
        position = self._record_left
        if position < 0:
            return
        size = len(data)
        while position + _HEADER_BYTES <= size:
            position += _HEADER_BYTES + (data[position + 3] << 8 | data[position + 4])
        # A header that is cut in two is not pieced together: this connection goes on the stock way.
        self._record_left = position - size if position >= size else -1


class TLSFactory(TLSMemoryBIOFactory):
    # Nor does it hold small writes back for a turn: whole responses are written here.
    protocol = TLSProtocol

    def __init__(self, context_factory: Any, wrapped: Any, clock: Any) -> None:
        super().__init__(context_factory, False, wrapped, clock)
        self._certificates = context_factory if isinstance(context_factory, Certificates) else None

    def startFactory(self) -> None:
        if self._certificates is not None:
            self._certificates.start()

    def stopFactory(self) -> None:
        if self._certificates is not None:
            self._certificates.stop()
