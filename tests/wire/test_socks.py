"""SOCKS 5: what is asked, byte for byte, and every answer at every split."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.errors import PeerFault, Reason
from hardhttp.testing import every_split
from hardhttp.wire.socks import SocksAnswer, SocksNegotiation, connect_to, sign_in

REQUEST = connect_to("origin", 443)
SIGNED_IN = sign_in(b"user", b"hunter2")
TAKEN, SIGN_IN = b"\5\0", b"\5\2"
OPENED = b"\5\0\0\1\x7f\0\0\1\0\x50"


class Talk:
    """A negotiation, and what it said."""

    def __init__(self, sign_in: bytes | None = None) -> None:
        self.said: list[bytes] = []
        self.negotiation = SocksNegotiation(REQUEST, sign_in, self.said.append)

    def hear(self, *pieces: bytes) -> Any:
        for piece in pieces:
            answer = self.negotiation.feed(piece)
            if answer is not None:
                return answer
        return None


@pytest.mark.parametrize(
    ("host", "place"),
    [
        ("origin", b"\x03\x06origin"),
        ("127.0.0.1", b"\x01\x7f\0\0\1"),
        ("2001:db8::1", b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\1"),
        ("x" * 255, b"\x03\xff" + b"x" * 255),
    ],
)
def test_request(host: str, place: bytes) -> None:
    assert connect_to(host, 0x1234) == b"\5\1\0" + place + b"\x12\x34"


def test_what_it_has_no_room_for() -> None:
    for host in ("", "x" * 256):
        with pytest.raises(ValueError, match="255"):
            connect_to(host, 1)
    for user, password in ((b"", b"x"), (b"x" * 256, b"x"), (b"x", b"x" * 256)):
        with pytest.raises(ValueError, match="255"):
            sign_in(user, password)
    assert sign_in(b"u", b"") == b"\1\1u\0"


def test_open_without_credentials() -> None:
    for taken in every_split(TAKEN):
        for opened in every_split(OPENED):
            talk = Talk()
            assert talk.said == [b"\5\1\0"]
            assert talk.hear(*taken) is None
            assert talk.said == [b"\5\1\0", REQUEST]
            assert talk.hear(*opened[:-1]) is None
            assert talk.hear(opened[-1]) == SocksAnswer()
            assert talk.negotiation.rest == b""


def test_credentials_are_told_only_who_wants_them() -> None:
    talk = Talk(SIGNED_IN)
    assert talk.said == [b"\5\2\0\2"]
    talk.hear(TAKEN)
    assert talk.said[1:] == [REQUEST]
    for wants in every_split(SIGN_IN):
        for good in every_split(b"\1\0"):
            talk = Talk(SIGNED_IN)
            talk.hear(*wants)
            assert talk.said[1:] == [b"\1\4user\7hunter2"]
            talk.hear(*good)
            assert talk.said[2:] == [REQUEST]
            assert talk.hear(OPENED).is_open


@pytest.mark.parametrize("address", [b"\1" + bytes(4), b"\3\0", b"\3\xff" + b"x" * 255, b"\4" + bytes(16)])
def test_every_kind_of_address(address: bytes) -> None:
    opened = b"\5\0\0" + address + b"\0\0"
    for pieces in every_split(opened + b"220 hello"):
        talk = Talk()
        talk.hear(TAKEN)
        rest = list(pieces)
        while talk.hear(rest.pop(0)) is None:
            pass
        assert talk.negotiation.rest + b"".join(rest) == b"220 hello"


@pytest.mark.parametrize(
    ("signs_in", "answers", "said"),
    [
        (False, [b"\5\xff"], "it wants a user and a password"),
        (True, [b"\5\xff"], "it wants another way to sign in than a password"),
        (True, [SIGN_IN, b"\1\1"], "user and password are not those it knows"),
        (True, [SIGN_IN, b"\1\xff"], "user and password are not those it knows"),
        (False, [TAKEN, b"\5\1"], "it failed"),
        (False, [TAKEN, b"\5\5\0\1\0\0\0\0\0\0"], "the connection is refused"),
        (False, [TAKEN, b"\5\x08\0"], "it does not know this kind of address"),
        (False, [TAKEN, b"\5\x63"], "its reason has the number 99"),
    ],
)
def test_refused(signs_in: bool, answers: list[bytes], said: str) -> None:
    for pieces in every_split(answers[-1]):
        talk = Talk(SIGNED_IN if signs_in else None)
        assert talk.hear(*answers[:-1]) is None
        answer = talk.hear(*pieces)
        assert str(answer) == said
        assert not answer.is_open


@pytest.mark.parametrize(
    ("signs_in", "answers", "reason"),
    [
        (False, [b"\4"], Reason.BAD_VERSION),
        (False, [b"HTTP/1.1 400 Bad Request\r\n"], Reason.BAD_VERSION),
        (False, [SIGN_IN], Reason.BAD_HEADER),  # not offered
        (True, [b"\5\1"], Reason.BAD_HEADER),
        (True, [SIGN_IN, b"\5\0"], Reason.BAD_VERSION),
        (False, [TAKEN, b"\0\x5a"], Reason.BAD_VERSION),
        (False, [TAKEN, b"\5\0\0\2\0"], Reason.BAD_HEADER),
    ],
)
def test_no_socks_5(signs_in: bool, answers: list[bytes], reason: Reason) -> None:
    for pieces in every_split(answers[-1]):
        talk = Talk(SIGNED_IN if signs_in else None)
        talk.hear(*answers[:-1])
        with pytest.raises(PeerFault) as raised:
            talk.hear(*pieces)
        assert raised.value.reason is reason


def test_answers_before_they_are_asked_for() -> None:
    for answers in (TAKEN + OPENED, TAKEN + b"\5"):
        with pytest.raises(PeerFault, match="not asked yet"):
            Talk().hear(answers)
    with pytest.raises(PeerFault, match="not asked yet"):
        Talk(SIGNED_IN).hear(SIGN_IN, b"\1\0\5")


@given(st.binary(max_size=300), st.booleans())
def test_anything_is_refused_or_waited_for(data: bytes, signs_in: bool) -> None:
    """It never raises another error, and believes none that did not say so; what it keeps is bounded."""
    talk = Talk(SIGNED_IN if signs_in else None)
    answer = None
    for byte in data:
        try:
            answer = talk.hear(bytes([byte]))
        except PeerFault:
            break
        if answer is not None:
            break
    assert len(talk.negotiation._buffer) <= 262
    if answer is not None and answer.is_open:
        assert data.startswith((b"\5\0\5\0", b"\5\2\1\0\5\0"))
        assert talk.said[-1] == REQUEST
