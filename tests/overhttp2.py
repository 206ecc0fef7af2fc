"""HTTP/1.1 requests, said over HTTP/2: so the tests of what is above the connection run over both.

The tests in ``tests/web`` that use a ``Rig`` run twice: as they are, and with peers that speak HTTP/2 below. Those
named in ``HTTP1_ALONE`` run once: they look at HTTP/1.1's own bytes (status lines, phrases, chunks), send what only
it can say, or count on what ends a connection there and a stream here.
"""

from __future__ import annotations

from typing import Any

import pytest

from hardhttp.testing import Rig
from hardhttp.testing.http2 import HTTP2Peer

__all__ = ["HTTP1_ALONE", "OVER_BOTH", "QUICK", "SayingPeer", "protocol"]

OVER_BOTH = {
    "test_accesslog",
    "test_asking",
    "test_body",
    "test_bodystream",
    "test_clientinfo",
    "test_compression",
    "test_cors",
    "test_csrf",
    "test_forms",
    "test_headers",
    "test_injection",
    "test_listing",
    "test_pages",
    "test_ratelimit",
    "test_remembering",
    "test_request",
    "test_responding",
    "test_response",
    "test_results",
    "test_routing",
    "test_securityheaders",
    "test_sessions",
    "test_site",
    "test_static",
    "test_streaming",
    "test_traversal",
    "test_twistedsession",
    "test_wrappers_together",
    "test_websocket",
    "test_wrapping",
}
# The others are slow over HTTP/2: there are two thousand of them.
QUICK = {"test_body", "test_csrf", "test_headers", "test_results", "test_streaming", "test_websocket"}
QUICK |= {"test_wrappers_together"}

HTTP1_ALONE: dict[str, set[str]] = {
    "test_accesslog": {
        "test_a_client_that_takes_a_stream_too_slowly",
        "test_a_flood_of_bad_heads_fills_no_disk",
        "test_a_log_that_fails_costs_itself",
        "test_a_plain_function_is_told_of_finished_requests_alone",
        "test_deadlines",
        "test_heads_and_bodies",
    },
    "test_asking": {
        "test_the_same_form_however_it_comes",
    },
    "test_body": {
        "test_a_body_is_the_same_however_it_is_split",
        "test_what_is_in_memory_is_in_the_ledger",
    },
    "test_bodystream": {
        "test_a_form_that_is_loaded_as_it_comes_is_in_the_ledger_and_ends_with_its_request",
        "test_a_handler_that_is_slow_holds_the_client_and_little_else",
        "test_a_part_comes_before_the_form_is_whole",
        "test_a_stream_is_one_reader_s_and_had_once",
        "test_a_stream_that_is_dropped_frees_its_connection",
        "test_an_http_error_amid_a_stream_is_an_answer",
        "test_the_client_is_invited_when_the_body_is_asked_for",
        "test_the_same_however_it_is_split",
        "test_when_the_client_goes_while_the_handler_is_busy",
    },
    "test_clientinfo": {
        "test_the_access_log_says_whose_it_was",
    },
    "test_compression": {
        "test_an_empty_write_sends_the_head_alone",
        "test_chunks_made_for_many_are_coded_for_one",
        "test_each_write_of_a_stream_arrives_at_once",
        "test_http_10",
    },
    "test_forms": {
        "test_args_that_cannot_be_taken_are_refused_when_asked_for",
    },
    "test_headers": {
        "test_an_upgrade_option_stays_beside_close",
    },
    "test_pages": {
        "test_a_refusal_is_a_page_with_an_id_that_is_in_the_log",
        "test_an_http_error_after_the_response_has_begun",
        "test_v_error_pages",
    },
    "test_remembering": {
        "test_a_store_that_does_not_answer_is_given_up",
        "test_a_stream_ends_when_it_is_saved",
        "test_a_stream_that_cannot_be_saved_is_cut",
        "test_a_streaming_resource_has_its_session_too",
        "test_one_that_failed_before_the_end_of_a_stream_cuts_it",
        "test_the_response_waits_until_it_is_saved",
    },
    "test_request": {
        "test_a_failure_after_the_response_has_begun_is_no_whole_response",
        "test_an_application_that_closes_the_connection_does_not_take_back_what_was_answered",
        "test_connection_close_of_the_application_is_meant",
        "test_e05_an_answer_that_never_comes",
        "test_head_of_what_must_be_told_get_leaves_nothing_behind_it",
        "test_http_1_0_ends_a_body_of_unknown_length_with_the_connection",
        "test_less_than_content_length_is_no_whole_response",
        "test_nothing_is_injected_into_a_head",
        "test_the_next_request_is_served_before_the_end_is_told",
        "test_what_a_request_shows",
    },
    "test_responding": {
        "test_a_long_body_is_in_memory_once_however_many_read_it",
        "test_what_is_said_before_a_handler_returns_is_one_write",
        "test_what_is_said_later_goes_out_as_it_is_said",
    },
    "test_response": {
        "test_a_failure_half_way_ends_the_connection",
        "test_a_file_that_becomes_shorter_ends_the_connection",
        "test_a_quick_iterator_and_a_quick_client_leave_the_reactor_to_others",
        "test_the_head_goes_with_the_first_piece_even_an_empty_one",
        "test_the_next_piece_is_asked_for_when_the_client_takes_more",
        "test_v_responses_as_stream",
    },
    "test_results": {
        "test_an_iterator_that_fails_half_way_ends_the_connection",
        "test_iterators_are_sent_as_they_come",
    },
    "test_routing": {
        "test_a_failure_half_way_ends_the_connection",
        "test_a_mounted_resource_may_stream_as_in_a_tree",
        "test_a_streaming_handler_is_called_before_the_body",
        "test_a_streaming_handlers_hooks_refuse_before_the_body",
    },
    "test_sessions": {
        "test_a_stream_saves_at_its_head_and_at_its_end",
        "test_v16_1080000_requests_that_look_leave_memory_flat",
        "test_v16_twenty_thousand_lookers_leave_nothing",
    },
    "test_site": {
        "test_cleanup_idle_connections_by_hand",
        "test_it_is_a_site",
        "test_limits_replaced_while_running",
        "test_on_accept_may_refuse",
        "test_on_accept_that_fails_refuses_and_costs_nothing_else",
        "test_statistics",
    },
    "test_static": {
        "test_compressed_on_the_way",
    },
    "test_streaming": {
        "test_100_continue_after_judging_for_a_resource_of_the_old_kind",
        "test_100_continue_is_sent_when_the_body_is_asked_for",
        "test_a_body_nobody_asks_for",
        "test_an_answer_may_begin_before_the_body_ends",
        "test_an_early_answer_closes_the_connection_and_tells_the_receiver",
        "test_backpressure_reaches_the_client_and_no_deadline_runs_meanwhile",
        "test_no_100_continue_when_the_resource_answers_at_once",
        "test_paused_and_resumed_within_a_piece",
        "test_the_head_comes_before_the_body",
        "test_the_same_however_it_is_split",
        "test_the_way_to_a_streaming_resource",
        "test_too_much_is_found_by_counting",
    },
    "test_traversal": {
        "test_also_when_what_is_allowed_is_in_memory",
        "test_every_way_out_is_refused",
        "test_whatever_is_put_together",
    },
    "test_websocket": {  # see tests/net/test_tunnel.py for what is so on a stream
        "test_a_client_that_breaks_a_rule_is_told_and_cut_off",
        "test_a_client_that_does_not_answer_a_close_is_cut_off",
        "test_a_ping_that_is_not_answered_ends_it",
        "test_a_socket_is_opened_and_echoes",
        "test_a_thousand_messages_at_once_do_not_hold_the_reactor",
        "test_e03_a_handshake_with_a_body_and_two_of_a_field",
        "test_e03_a_refused_handshake_leaves_nothing",
        "test_nothing_is_kept_by_one_that_the_application_keeps",
        "test_one_that_breaks_a_rule_instead_of_answering_a_close",
        "test_pings_of_a_client_that_takes_nothing_are_answered_once",
        "test_reading_is_paused_until_the_handler_takes_more",
        "test_send_waits_until_there_is_room",
        "test_the_application_closes_and_the_client_answers",
        "test_what_waits_is_bounded_in_bytes_and_in_the_ledger",
        "test_when_too_much_is_held_the_heaviest_socket_goes",
        "test_who_does_not_wait_ends_the_socket_at_the_bound",
    },
}

_CONNECTION = frozenset({b"host", b"connection", b"keep-alive", b"transfer-encoding", b"upgrade"})


class SayingPeer(HTTP2Peer):
    """``send`` takes whole requests in HTTP/1.1's bytes, however they are cut; each is a stream."""

    def __init__(self, rig: Rig, address: tuple[str, int]) -> None:
        self._said = b""
        self._talks = False
        super().__init__(rig, address)
        self._talks = True

    def send(self, *pieces: bytes) -> None:
        if not self._talks:
            super().send(*pieces)
            return
        self._said += b"".join(pieces)
        while (end := self._said.find(b"\r\n\r\n")) >= 0:
            first, *lines = self._said[:end].split(b"\r\n")
            method, target, _ = first.split(b" ")
            fields = [
                (name.lower(), value.strip()) for name, _, value in [line.partition(b":") for line in lines] if name
            ]
            known = dict(fields)
            rest = self._said[end + 4 :]
            size = int(known.get(b"content-length", b"0"))
            body: bytes | None = rest[:size]
            waits = len(rest) < size
            if b"transfer-encoding" in known:
                body, rest, waits = _dechunked(rest)
            else:
                rest = rest[size:]
            self._said = rest
            self._talks = False
            try:
                given = [(name, value) for name, value in fields if name not in _CONNECTION]
                has_body = b"content-length" in known or b"transfer-encoding" in known
                number = self.begin(method, target, given, end=not has_body, authority=known.get(b"host"))
                if has_body and self.streams[number].code is None and (body or not waits):
                    self.body(number, body or b"", end=not waits)
            finally:
                self._talks = True

    def take(self, size: int | None) -> None:
        super().take(size)
        self.pump()

    def pump(self) -> None:
        talks, self._talks = self._talks, False
        try:
            super().pump()
        finally:
            self._talks = talks


class WebSocketPeer(HTTP2Peer):
    """A handshake in HTTP/1.1's bytes is an extended CONNECT (RFC 8441), what is behind it DATA, and back again.

    It ends its side when the server has ended its own.
    """

    def __init__(self, rig: Rig, address: tuple[str, int]) -> None:
        self.number = 0
        self._has_ended = False
        self._said = b""
        self._talks = False
        super().__init__(rig, address)
        self._talks = True

    def send(self, *pieces: bytes) -> None:
        if not self._talks:
            super().send(*pieces)
            return
        for piece in pieces:
            self._said += piece
            self._go_on()

    def _go_on(self) -> None:
        self._talks = False
        try:
            if not self.number:
                self._open()
            heard = self.streams.get(self.number)
            if heard is not None and self._said and not heard.ended and heard.code is None and not self.closed:
                self._said = self._said[self.body(self.number, self._said, end=False) :]
            if heard is not None and heard.ended and heard.code is None and not self._has_ended:
                self._has_ended = True
                self.wire.end_stream(self.number)
                super().pump()
        finally:
            self._talks = True

    def _open(self) -> None:
        end = self._said.find(b"\r\n\r\n")
        if end < 0:
            return
        (line, *lines), self._said = self._said[:end].split(b"\r\n"), self._said[end + 4 :]
        pseudo = [(b":method", b"CONNECT"), (b":protocol", b"websocket"), (b":scheme", b"http")]
        pseudo += [(b":path", line.split(b" ")[1]), (b":authority", b"a")]
        fields = [(name.lower(), value.strip()) for name, _, value in [each.partition(b":") for each in lines]]
        left_out = _CONNECTION | {b"sec-websocket-key"}
        self.number = self.headers([*pseudo, *[field for field in fields if field[0] not in left_out]], end=False)

    def pump(self) -> None:
        talks, self._talks = self._talks, False
        try:
            super().pump()
        finally:
            self._talks = talks
        if talks:
            self._go_on()

    def take(self, size: int | None) -> None:
        super().take(size)
        self.pump()

    @property
    def unread(self) -> int:
        self.pump()
        return len(self._said) + super().unread

    @property
    def received(self) -> bytes:
        if not self._talks:
            return super().received
        self.pump()
        heard = self.streams.get(self.number)
        if heard is None or heard.headers is None:
            return b""
        (_, status), *fields = heard.headers
        line = b"HTTP/1.1 101 Switching Protocols" if status == b"200" else b"HTTP/1.1 %b x" % status
        return b"\r\n".join([line, *[name + b": " + value for name, value in fields], b"", heard.body])

    @property
    def ended(self) -> bool:
        if not self._talks:
            return super().ended
        self.pump()
        heard = self.streams.get(self.number)
        return super().ended or (heard is not None and (heard.ended or heard.code is not None))

    @property
    def closed(self) -> bool:
        if not self._talks:
            return super().closed
        self.pump()
        if self.number and self.number not in self.protocol.streams:
            self.reset()  # it wanted nothing else
        return super().closed

    @property
    def aborted(self) -> bool:
        heard = self.streams.get(self.number)
        return super().aborted or (heard is not None and heard.code not in (None, 0))


def _dechunked(data: bytes) -> tuple[bytes, bytes, bool]:
    """The body in these chunks, what is behind it, and whether more of it is to come."""
    body = b""
    while data:
        line, _, data = data.partition(b"\r\n")
        size = int(line, 16)
        if not size:
            return body, data.partition(b"\r\n")[2], False
        body, data = body + data[:size], data[size + 2 :]
    return body, b"", True


@pytest.fixture(autouse=True)
def protocol(request: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is spoken."""
    spoken = str(getattr(request, "param", "http/1.1"))
    if spoken == "http/2":
        speaker = WebSocketPeer if request.module.__name__.endswith("test_websocket") else SayingPeer

        def connect(rig: Rig, host: str = "127.0.0.1") -> HTTP2Peer:
            peer = speaker(rig, (host, 1024 + len(rig.peers) % 64_000))
            rig.peers.append(peer)
            return peer

        monkeypatch.setattr(Rig, "connect", connect)
    return spoken
