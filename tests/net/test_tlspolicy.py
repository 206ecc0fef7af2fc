"""What is agreed to in a handshake: the policy's own bounds, and what OpenSSL is told."""

from __future__ import annotations

import attrs
import pytest
from OpenSSL import SSL

from hardhttp.net.tlspolicy import CIPHERS, TLSPolicy, said_by


def test_it_is_a_value() -> None:
    assert TLSPolicy() == TLSPolicy(minimum="1.2", ciphers=CIPHERS)
    assert attrs.evolve(TLSPolicy(), minimum="1.3").minimum == "1.3"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"minimum": "1.1"}, "minimum is '1.1'; it must be 1.2 or 1.3"),
        ({"minimum": "TLSv1.2"}, "minimum is 'TLSv1.2'; it must be 1.2 or 1.3"),
        ({"client_certificate": "maybe"}, "client_certificate is 'maybe'; it must be required or optional"),
        ({"ciphers": ""}, "ciphers: '' is not a cipher that OpenSSL knows"),
        ({"ciphers": "ECDHE+AESGCM:RC5"}, "ciphers: 'RC5' is not a cipher that OpenSSL knows"),
        ({"ciphers": "ECDHE+AESGCM:TLS_FAST"}, "ciphers: 'TLS_FAST' is not a cipher of TLS 1.3"),
        ({"ciphers": "ECDHE+AESGCM:!ALL"}, "ciphers: 'ECDHE+AESGCM:!ALL' is not a choice of ciphers"),
        ({"ciphers": "ÄES"}, "ciphers: 'ÄES' is not a cipher that OpenSSL knows"),
        ({"ciphers": "TLS_AES_128_GCM_SHA256"}, "ciphers has none for TLS 1.2; add one, or let minimum be 1.3"),
    ],
)
def test_what_is_no_policy(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValueError) as caught:
        TLSPolicy(**given)
    assert str(caught.value) == said


def test_what_is_one() -> None:
    TLSPolicy(minimum="1.3", ciphers="TLS_AES_128_GCM_SHA256")
    TLSPolicy(ciphers="ECDHE+AESGCM:!SHA384")
    TLSPolicy(ciphers=" ECDHE+AESGCM : TLS_AES_256_GCM_SHA384 ")


def ciphers(policy: TLSPolicy) -> list[str]:
    context = SSL.Context(SSL.TLS_METHOD)
    policy.apply(context)
    return SSL.Connection(context, None).get_cipher_list()


@pytest.mark.parametrize(
    ("ciphers", "unfit"),
    [
        (CIPHERS, []),
        ("DHE+AESGCM:ECDHE+ARIAGCM:ECDHE+AESCCM:ECDHE-ECDSA-CHACHA20-POLY1305", []),
        ("AES128-GCM-SHA256:ECDHE+AESGCM", ["AES128-GCM-SHA256"]),  # authenticated, not ephemeral
        ("ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES128-SHA256", ["ECDHE-RSA-AES128-SHA", "ECDHE-RSA-AES128-SHA256"]),
        ("AES256-SHA", ["AES256-SHA"]),
    ],
)
def test_what_http2_does_not_take(ciphers: str, unfit: list[str]) -> None:
    assert TLSPolicy(ciphers=ciphers).unfit_for_http2() == unfit
    assert TLSPolicy(minimum="1.3", ciphers=ciphers).unfit_for_http2() == []


def test_every_cipher_is_ephemeral_and_authenticated() -> None:
    names = ciphers(TLSPolicy())
    assert names[:4] == [
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
        "ECDHE-ECDSA-AES128-GCM-SHA256",
    ]
    assert all(name.startswith(("TLS_", "ECDHE-")) for name in names)
    assert all("GCM" in name or "POLY1305" in name for name in names)


def test_ciphers_may_be_fewer() -> None:
    given = TLSPolicy(ciphers="TLS_AES_256_GCM_SHA384:ECDHE-RSA-AES256-GCM-SHA384")
    assert ciphers(given) == ["TLS_AES_256_GCM_SHA384", "ECDHE-RSA-AES256-GCM-SHA384"]


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SSL.Error([("SSL routines", "", "unsupported protocol")]), "unsupported protocol"),
        (SSL.Error([("", "", "one"), ("", "", "two")]), "one, two"),
        (SSL.Error(), "OpenSSL does not say why"),
        (SSL.Error([]), "OpenSSL does not say why"),
        (SSL.SysCallError(-1, "Unexpected EOF"), "OpenSSL does not say why"),
    ],
)
def test_what_openssl_says(error: SSL.Error, said: str) -> None:
    assert said_by(error) == said
