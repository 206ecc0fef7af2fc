"""The client's limits: names, bounds, and what may be off."""

from __future__ import annotations

from unittest.mock import Mock

import attrs
import pytest
from twisted.internet.task import Clock

from hardhttp.client.layers import clock_of, limits_of
from hardhttp.client.limits import ClientLimits
from hardhttp.errors import LimitError
from tests.client.rig import ClientRig

NAMES = {
    *("connect_seconds", "tls_seconds", "proxy_seconds", "first_byte_seconds", "body_idle_seconds"),
    *("body_bytes_per_second", "unread_seconds", "total_seconds", "queue_seconds", "idle_connection_seconds"),
    *("max_head_bytes", "max_headers", "max_informational", "max_body_bytes", "max_decoded_bytes"),
    *("max_connections", "max_connections_per_host", "max_queued", "max_idle_connections", "max_redirects"),
    *("settings_seconds", "ping_seconds", "stream_window_bytes"),
    *("max_streams", "max_stream_resets", "max_control_frames"),
}
MAY_BE_OFF = {"first_byte_seconds", "body_idle_seconds", "total_seconds", "max_body_bytes", "max_decoded_bytes"}


def test_names() -> None:
    assert {field.name for field in attrs.fields(ClientLimits)} == NAMES


@pytest.mark.parametrize("name", sorted(NAMES))
def test_bounds(name: str) -> None:
    field = attrs.fields_dict(ClientLimits)[name]
    low, high = field.metadata["low"], field.metadata["high"]
    for value in (low, high):
        more = {"max_connections": value} if name == "max_connections_per_host" else {}
        assert getattr(ClientLimits(**{name: value, **more}), name) == value
    for value in (low - 1, high + 1, "1", True, float("nan")):
        with pytest.raises(LimitError, match=f"{name} is"):
            ClientLimits(**{name: value})
    if name in MAY_BE_OFF:
        assert getattr(ClientLimits(**{name: None}), name) is None
    else:
        with pytest.raises(LimitError):
            ClientLimits(**{name: None})


def test_frozen() -> None:
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        ClientLimits().max_headers = 3  # type: ignore[misc]


def test_whose_limits_hold_around_an_agent() -> None:
    class Around:
        def __init__(self, agent: object, **more: object) -> None:
            self.agent = agent
            self.__dict__.update(more)

    limits = ClientLimits(max_headers=7)
    inner = Around(None, limits=limits)
    assert limits_of(inner) is limits_of(Around(inner)) is limits_of(Around(Around(inner), limits="others")) is limits
    assert limits_of(Around(None)) == ClientLimits()
    assert limits_of(Mock()) == ClientLimits()
    clock = Clock()
    assert clock_of(Around(Around(None, clock=clock), clock="others")) is clock
    assert clock_of(Around(None)) is None


def test_one_host_gets_no_more_than_all() -> None:
    assert ClientLimits(max_connections=5).max_connections_per_host == 5


def test_a_header_is_judged_by_each_requests_own_bound() -> None:
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nA: b\r\nC: d\r\n\r\n"
    with ClientRig() as rig:
        rig.ask()
        rig.servers[0].send(data)
        for bound, fits in ((3, True), (2, False)):
            asked = rig.ask(limits=attrs.evolve(rig.limits, max_headers=bound))
            rig.servers[0].send(data)
            assert (asked.response is not None) == fits
