"""Nobody is attacked by a slip of the keyboard."""

from __future__ import annotations

import pytest

from hardhttp.soak.where import NotOwnError, Where, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "[::1]"])
def test_loopback_is_ones_own(host: str) -> None:
    assert Where.of(f"http://{host}:8080/").port == 8080


@pytest.mark.parametrize(
    "host", ["shop.test", "10.0.0.1", "localhost.example", "127.0.0.1.example", "0.0.0.0", "[::]", "2130706433"]
)
def test_others_have_to_be_named_twice(host: str) -> None:
    with pytest.raises(NotOwnError, match="--i-own"):
        Where.of(f"http://{host}/")
    with pytest.raises(NotOwnError):
        Where.of(f"http://{host}/", own="another.test")
    own = host.strip("[]")
    assert Where.of(f"http://{host}/", own=own).host == own


def test_a_user_name_is_not_the_host() -> None:
    assert not is_loopback("127.0.0.1@shop.test")
    with pytest.raises(NotOwnError, match=r"shop\.test is not this machine"):
        Where.of("http://127.0.0.1@shop.test/")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://127.0.0.1/", "http://", "http://127.0.0.1:x/"])
def test_what_is_no_url_is_told(url: str) -> None:
    with pytest.raises(ValueError):
        Where.of(url)


def test_its_parts() -> None:
    where = Where.of("http://[::1]/page?a=1", {"large": "/big"})
    assert (where.authority, where.port, where.paths) == ("[::1]:80", 80, {"hello": "/page?a=1", "large": "/big"})
    assert where.url == "http://[::1]:80/page?a=1"
    assert Where.of("https://localhost/").port == 443
