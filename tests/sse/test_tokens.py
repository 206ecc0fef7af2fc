"""Keys as they are configured, tokens as requests carry them, and signatures that hold or do not."""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import get_default_algorithms
from twisted.web.resource import Resource
from twisted.web.test.requesthelper import DummyRequest

from hardhttp.sse.jwks import ALGORITHMS, MAX_KEYS, MAX_TEXT_CHARACTERS
from hardhttp.sse.tokens import MAX_TOKEN_CHARACTERS, Found, Key, TokenError, cookie_origin_allowed, find_token
from hardhttp.testing import Rig
from hardhttp.web.cors import Origins

SECRET = "a secret of sixty-four bytes, which is what HS512 asks for, at least"
EXAMPLE = "!ChangeThisMercureHubJWTSecretKey!"
ASYMMETRIC = [name for name, kind in ALGORITHMS.items() if kind != "oct"]


@functools.cache
def private_key(algorithm: str, number: int = 0) -> Any:
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(public_exponent=65537, key_size=2048)
    if algorithm.startswith("ES"):
        return ec.generate_private_key({"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1()}[algorithm])
    return ed25519.Ed25519PrivateKey.generate()


def pem(key: Any) -> str:
    kind = serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_bytes(serialization.Encoding.PEM, kind).decode())


def certificate_of(key: Any) -> str:
    """One that nobody signed but itself, and that is long past: who configures it says that he trusts it."""
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer of tokens")])
    begin = datetime(2001, 1, 1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, begin + timedelta(days=1))
    signed = builder.sign(key, None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256())
    return signed.public_bytes(serialization.Encoding.PEM).decode()


def private_pem(key: Any) -> str:
    kind = serialization.PrivateFormat.PKCS8
    return str(key.private_bytes(serialization.Encoding.PEM, kind, serialization.NoEncryption()).decode())


def signing(algorithm: str, number: int = 0) -> Any:
    return f"{SECRET}{number or ''}" if ALGORITHMS[algorithm] == "oct" else private_key(algorithm, number)


def configured(algorithm: str) -> Key:
    key = signing(algorithm)
    return Key.parse(key if isinstance(key, str) else pem(key.public_key()), algorithm)


def jwk_of(algorithm: str, number: int = 0, **more: Any) -> dict[str, Any]:
    key = signing(algorithm, number)
    public: Any = key if isinstance(key, str) else key.public_key()
    return {**get_default_algorithms()[algorithm].to_jwk(public, as_dict=True), **more}


def jwks(*keys: dict[str, Any]) -> str:
    return json.dumps({"keys": keys})


def b64(data: bytes | dict[str, Any]) -> str:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def by_hand(header: bytes | dict[str, Any], payload: bytes | dict[str, Any] = b"{}", secret: str = SECRET) -> str:
    """A token whose HS256 signature holds, whatever is in it."""
    signed = f"{b64(header)}.{b64(payload)}"
    return f"{signed}.{b64(hmac.digest(secret.encode(), signed.encode(), hashlib.sha256))}"


HS256 = {"alg": "HS256", "typ": "JWT"}


def refused(key: Key, token: str) -> str:
    with pytest.raises(TokenError) as caught:
        key.verified(token)
    assert (caught.value.status, caught.value.error) == (401, "invalid_token")
    return caught.value.description


# -- keys ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_verifies_what_its_algorithm_signed(algorithm: str) -> None:
    token = jwt.encode({"a": 1}, signing(algorithm), algorithm)
    key = configured(algorithm)
    assert json.loads(key.verified(token)) == {"a": 1}
    assert (key.algorithm, key.warnings, key.is_the_example) == (algorithm, (), False)
    other = jwt.encode({"a": 1}, signing(algorithm, 1), algorithm)
    assert "does not hold" in refused(key, other)


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_certificate_stands_for_its_key(algorithm: str) -> None:
    key = Key.parse(certificate_of(private_key(algorithm)), algorithm)
    assert json.loads(key.verified(jwt.encode({"a": 1}, private_key(algorithm), algorithm))) == {"a": 1}
    assert "does not hold" in refused(key, jwt.encode({"a": 1}, private_key(algorithm, 1), algorithm))


def test_a_certificate_of_another_key_is_refused_as_that_is() -> None:
    weak = certificate_of(rsa.generate_private_key(public_exponent=65537, key_size=1024))
    for text, algorithm, said in (
        (weak, "RS256", "1024 bits"),
        (certificate_of(private_key("ES384")), "ES256", "not a public EC key"),
        (certificate_of(private_key("ES256")), "RS256", "not a public RSA key"),
        (certificate_of(private_key("ES256")).replace("A", "B"), "ES256", "not a public EC key"),
        (certificate_of(private_key("ES256")), "HS256", "PEM block"),
    ):
        with pytest.raises(ValueError, match=said):
            Key.parse(text, algorithm)


@pytest.mark.parametrize("algorithm", ["none", "None", "", "HS1", "hs256", "ES256K", "PS256", "dir"])
def test_only_known_algorithms_are_configured(algorithm: str) -> None:
    with pytest.raises(ValueError, match="must be one of HS256") as caught:
        Key.parse(SECRET, algorithm)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_public_key_is_no_secret(algorithm: str) -> None:
    public = pem(private_key(algorithm).public_key())
    for text in (
        public,
        public[: len(public) // 2],
        " \n" + public,
        jwks(jwk_of(algorithm)),
        json.dumps([jwk_of(algorithm)]),
    ):
        with pytest.raises(ValueError) as caught:
            Key.parse(text, "HS256")
        assert text.strip().splitlines()[0][:20] not in str(caught.value)


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_private_key_is_refused(algorithm: str) -> None:
    key = private_key(algorithm)
    with pytest.raises(ValueError, match="private key"):
        Key.parse(private_pem(key), algorithm)
    document = jwks(get_default_algorithms()[algorithm].to_jwk(key, as_dict=True) | {"key_ops": ["verify"]})
    with pytest.raises(ValueError, match="private key"):
        Key.parse(document, algorithm)


@pytest.mark.parametrize(
    ("text", "algorithm", "said"),
    [
        ("", "HS256", "is empty"),
        (" \n", "RS256", "is empty"),
        ("x" * (MAX_TEXT_CHARACTERS + 1), "HS256", "longer than"),
        ("\udcff secret", "HS256", "not a secret"),
        ("sekrit", "RS256", "not a public RSA key"),
        ("sekrit", "EdDSA", "not a public OKP key"),
        ("-----BEGIN PUBLIC KEY-----\nsekrit\n-----END PUBLIC KEY-----", "ES256", "not a public EC key"),
        ('{"keys": [sekrit', "HS256", "JWKS is not JSON"),
        ("\ufeff" + '[{"kty": "sekrit"}]', "HS256", "no list of keys"),
        ('{"keys": {}}', "HS256", "no list of keys"),
        ('{"keys": ["sekrit"]}', "HS256", "no list of keys"),
        ('{"kay": "sekrit"}', "RS256", "not a public RSA key"),
        ('{"kay": {"kty": "oct"}, "k": "sekrit"}', "HS256", "no list of keys"),
        ('{"keys": []}', "RS256", "no key for RS256"),
        (jwks({"kty": "oct", "k": 1, "kid": "sekrit"}), "HS256", "malformed"),
        (jwks({"kty": "oct", "kid": "sekrit"}), "HS256", "malformed"),
        (jwks({"kty": "RSA", "n": "sekrit", "e": "AQAB"}), "RS256", "32 bits"),
        (jwks({"kty": "RSA", "n": 1, "e": "sekrit"}), "RS256", "malformed"),
        (jwks({"kty": "EC", "crv": "P-256", "x": "sekrit", "y": "sekrit"}), "ES256", "malformed"),
        (jwks({"kty": "oct", "k": "c2VjcmV0", "kid": 7}), "HS256", "kid in the JWKS is not a string"),
        (jwks(*[{"kty": "oct"}] * (MAX_KEYS + 1)), "HS256", "at most 100"),
    ],
)
def test_what_is_no_key_is_said_without_quoting_it(text: str, algorithm: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        Key.parse(text, algorithm)
    assert "sekrit" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_weak_or_wrong_keys_are_refused() -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    with pytest.raises(ValueError, match=r"1024 bits; RFC 7518, 3\.3"):
        Key.parse(pem(weak), "RS256")
    for key, algorithm in (("ES384", "ES256"), ("ES256", "RS256"), ("RS256", "ES256"), ("RS256", "EdDSA")):
        with pytest.raises(ValueError, match=f"key for {algorithm}"):
            Key.parse(pem(private_key(key).public_key()), algorithm)
    koblitz = ec.generate_private_key(ec.SECP256K1()).public_key()
    with pytest.raises(ValueError, match="key for ES256"):
        Key.parse(pem(koblitz), "ES256")


@pytest.mark.parametrize(("algorithm", "needed"), [("HS256", 32), ("HS384", 48), ("HS512", 64)])
def test_a_short_secret_is_warned_of(algorithm: str, needed: int) -> None:
    assert Key.parse("k" * needed, algorithm).warnings == ()
    (warning,) = Key.parse("k" * (needed - 1), algorithm).warnings
    assert f"{needed - 1} bytes; RFC 7518, 3.2 asks for {needed}" in warning
    short = jwks({"kty": "oct", "k": b64(b"k" * (needed - 1))})
    assert Key.parse(short, algorithm).warnings == (warning,)


def test_the_example_key_is_recognised() -> None:
    for text in (EXAMPLE, EXAMPLE + "\n", jwks({"kty": "oct", "k": b64(EXAMPLE.encode())})):
        key = Key.parse(text, "HS256")
        assert key.is_the_example
        assert "anybody can sign" in key.warnings[0]
        assert EXAMPLE not in "".join(key.warnings)
    assert not Key.parse(EXAMPLE + "?", "HS256").is_the_example


def test_nothing_prints_a_secret() -> None:
    key = Key.parse(SECRET, "HS256")
    assert repr(key) == str(key) == "<Key HS256>"
    assert repr(Found("sekrit", True)) == "Found(from_cookie=True, from_query=False)"


# -- JWKS ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_of_several_is_found_by_kid(algorithm: str) -> None:
    key = Key.parse(jwks(jwk_of(algorithm, 0, kid="a"), jwk_of(algorithm, 1, kid="b")), algorithm)
    assert repr(key) == f"<Key {algorithm}, 2 keys>"
    for number, kid in enumerate("ab"):
        token = jwt.encode({"n": number}, signing(algorithm, number), algorithm, {"kid": kid})
        assert json.loads(key.verified(token)) == {"n": number}
    swapped = jwt.encode({}, signing(algorithm, 0), algorithm, {"kid": "b"})
    assert "does not hold" in refused(key, swapped)
    for header in ({}, {"kid": "c"}, {"kid": ""}):
        assert "names no key" in refused(key, jwt.encode({}, signing(algorithm, 0), algorithm, header))


def test_one_key_needs_no_kid_but_denies_another() -> None:
    lone = Key.parse(jwks(jwk_of("HS256", kid="a")), "HS256")
    assert lone.verified(by_hand(HS256)) == b"{}"
    assert lone.verified(by_hand({**HS256, "kid": "a"})) == b"{}"
    assert "names no key" in refused(lone, by_hand({**HS256, "kid": "b"}))
    for key in (Key.parse(jwks(jwk_of("HS256")), "HS256"), Key.parse(json.dumps(jwk_of("HS256")), "HS256")):
        assert key.verified(by_hand({**HS256, "kid": "any"})) == b"{}"  # it has none that could differ
        assert "kid of the token is not a string" in refused(key, by_hand({**HS256, "kid": 1}))


def test_only_what_verifies_with_the_algorithm_is_taken_from_a_jwks() -> None:
    others = [
        jwk_of("HS256", kid="1", use="enc"),
        jwk_of("HS256", kid="2", alg="HS512"),
        jwk_of("HS256", kid="3", key_ops=["sign"]),
        jwk_of("HS256", kid="4", key_ops="verify"),
        jwk_of("RS256", kid="5"),
        {"kty": "new", "kid": "6"},
        {},
    ]
    with pytest.raises(ValueError, match="no key for HS256"):
        Key.parse(jwks(*others), "HS256")
    ours = jwk_of("HS256", kid="7", use="sig", alg="HS256", key_ops=["verify"])
    assert repr(Key.parse(jwks(*others, ours), "HS256")) == "<Key HS256>"
    curves = Key.parse(jwks(jwk_of("ES256", kid="a"), jwk_of("ES384", kid="b")), "ES384")
    assert repr(curves) == "<Key ES384>"


@pytest.mark.parametrize("kids", [("a", "a"), (None, None), ("a", None), (None, "a")])
def test_a_jwks_in_which_a_key_cannot_be_found_is_refused(kids: tuple[str | None, ...]) -> None:
    keys = [jwk_of("HS256", n) | ({} if kid is None else {"kid": kid}) for n, kid in enumerate(kids)]
    with pytest.raises(ValueError, match="kid"):
        Key.parse(jwks(*keys), "HS256")


# -- signatures ----------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["HS256", "RS256", "ES256", "EdDSA"])
def test_no_byte_of_a_token_can_be_changed(algorithm: str) -> None:
    token = jwt.encode({"mercure": {"publish": ["*"]}}, signing(algorithm), algorithm)
    key = configured(algorithm)
    key.verified(token)
    for at in range(len(token)):
        for replacement in ("A" if token[at] != "A" else "B", chr(ord(token[at]) ^ 1), "", token[at] * 2, "."):
            if replacement != token[at]:
                refused(key, token[:at] + replacement + token[at + 1 :])


def test_the_last_bits_of_base64_are_not_free() -> None:
    """32 bytes are 43 characters, the last of which has two bits too many: four texts decode to the same."""
    token = by_hand(HS256)
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = alphabet.index(token[-1])
    same = [token[:-1] + alphabet[at + bits] for bits in (1, 2, 3)]
    assert len({base64.urlsafe_b64decode(each.rpartition(".")[2] + "=") for each in [token, *same]}) == 1
    for each in same:
        assert "not base64url" in refused(configured("HS256"), each)


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", "", None, 0, [], ["HS256"], {}, "hs256", "HS512"])
def test_the_algorithm_is_never_the_tokens(alg: Any) -> None:
    key = configured("HS256")
    signed = by_hand({"alg": alg})
    assert "alg of the token is not HS256" in refused(key, signed)
    assert "alg of the token is not HS256" in refused(key, signed.rpartition(".")[0] + ".")
    assert "alg of the token is not HS256" in refused(key, by_hand({"typ": "JWT"}))


@pytest.mark.parametrize("algorithm", ASYMMETRIC)
def test_a_public_key_signs_nothing(algorithm: str) -> None:
    """Algorithm confusion: the public key, used as the secret of an HMAC."""
    public = pem(private_key(algorithm).public_key())
    for alg in ("HS256", algorithm):
        for secret in (public, public.strip(), json.dumps(jwk_of(algorithm))):
            refused(configured(algorithm), by_hand({"alg": alg}, secret=secret))


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (b"", "three parts"),
        (b"null", "not an object"),
        (b"[]", "not an object"),
        (b"{", "header of the token is not JSON"),
        (b'{"alg":"HS256"', "header of the token is not JSON"),
        (b'{"alg":"none","alg":"HS256"}', "two equal names"),
        (b'{"alg":"HS256","x":[[[[[[]]]]]]}', "within each other"),
        (b"\xff\xfe", "not UTF-8"),
        (b'{"alg":"HS256","crit":["b64"],"b64":false}', "crit"),
        (b'{"alg":"HS256","crit":[]}', "crit"),
        (b'{"alg":"HS256","kid":["a"]}', "kid"),
        (b'{"alg":"HS256","x":"\\ud800"}', "surrogate"),
        (b'{"alg":"HS256","x":"\\q"}', "not JSON"),
        (b'{"alg":"HS256","n":' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_a_header_that_is_none(header: bytes, said: str) -> None:
    assert said in refused(configured("HS256"), by_hand(header))


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b",
        "a.b.c.d",
        "a.b.c.d.e",
        "a b.c.d",
        "a=.b.c",
        "ä.b.c",
        "a.b.c\n",
        "\0.b.c",
        "a+/.b.c",
        "٣.b.c",
    ],
)
def test_what_is_no_compact_form(token: str) -> None:
    assert "three parts of base64url" in refused(configured("HS256"), token)


def test_a_token_has_a_longest_length() -> None:
    key = configured("HS256")
    whole = by_hand(HS256, b"x" * 6000)
    padding = (MAX_TOKEN_CHARACTERS - len(whole)) * 3 // 4
    longest = next(t for n in range(4) if len(t := by_hand(HS256, b"x" * (6000 + padding + n))) >= MAX_TOKEN_CHARACTERS)
    assert len(longest) == MAX_TOKEN_CHARACTERS
    key.verified(longest)
    assert "longer than 8192" in refused(key, longest + "A")
    assert "longer than 8192" in refused(key, "A" * 10_000_000)


@given(
    st.one_of(st.text(), st.binary().map(lambda raw: raw.decode("latin-1")), st.from_regex(r"[\w.-]*\.[\w.-]*\.[\w-]*"))
)
def test_no_text_raises_anything_else(token: str) -> None:
    for algorithm in ("HS256", "ES256"):
        refused(configured(algorithm), token)


@given(st.binary(), st.sampled_from(["HS256", "RS256", "ES256", "EdDSA"]))
def test_no_signature_raises_anything_else(signature: bytes, algorithm: str) -> None:
    refused(configured(algorithm), f"{b64({'alg': algorithm})}.{b64(b'{}')}.{b64(signature)}")


@given(st.binary(min_size=1))
def test_no_header_raises_anything_else(header: bytes) -> None:
    refused(configured("HS256"), by_hand(header))


# -- in a request --------------------------------------------------------------------------------


def request_of(uri: bytes = b"/", cookie: bytes | None = None, **fields: bytes | list[bytes]) -> Any:
    request = DummyRequest([b""])
    request.uri = uri
    request.getCookie = lambda name: cookie if name == b"mercureAuthorization" else None
    for name, value in fields.items():
        request.requestHeaders.setRawHeaders(name, value if isinstance(value, list) else [value])
    return request


@pytest.mark.parametrize(
    ("uri", "cookie", "fields", "expected"),
    [
        (b"/", None, {}, None),
        (b"/?topic=a", None, {}, None),
        (b"/?xauthorization=q&Authorization=q", None, {}, None),
        (b"/", b"c.c.c", {}, Found("c.c.c", True)),
        (b"/?authorization=q.q.q", b"c.c.c", {}, Found("q.q.q", from_query=True)),
        (b"/?topic=a&authorization=q.q.q&x", None, {}, Found("q.q.q", from_query=True)),
        (b"/?%61uthorization=q%2Eq.q", None, {}, Found("q.q.q", from_query=True)),
        (b"/?authorization=q.q.q", b"c.c.c", {"authorization": b"Bearer h.h.h"}, Found("h.h.h", False)),
        (b"/?authorization=&authorization=", b'"', {"authorization": b"Bearer h.h.h"}, Found("h.h.h", False)),
        (b"/?authorization=q.q.q", b'"', {}, Found("q.q.q", from_query=True)),
        (b"/", None, {"authorization": b"bEARER  h.h.h"}, Found("h.h.h", False)),
    ],
)
def test_the_first_token_present_counts(uri: bytes, cookie: bytes | None, fields: Any, expected: Found | None) -> None:
    assert find_token(request_of(uri, cookie, **fields)) == expected


@pytest.mark.parametrize(
    ("uri", "cookie", "fields", "status", "said"),
    [
        (b"/", b"", {}, 400, "the cookie"),
        (b"/", b"a b", {}, 400, "the cookie"),
        (b"/", b'"a.b.c"', {}, 400, "the cookie"),
        (b"/?authorization=", b"c.c.c", {}, 400, "in the query"),
        (b"/?authorization", b"c.c.c", {}, 400, "in the query"),
        (b"/?authorization=a%20b", None, {}, 400, "in the query"),
        (b"/?authorization=%FF", None, {}, 400, "in the query"),
        (b"/?authorization=a.b.c&authorization=a.b.c", None, {}, 400, "more than once"),
        (b"/?" + b"&" * 1000, None, {}, 400, "more than 1000 fields"),
        (b"/?authorization=q.q.q", b"c.c.c", {"authorization": b""}, 400, "not Bearer and a token"),
        (b"/?authorization=q.q.q", b"c.c.c", {"authorization": b"Bearer"}, 400, "not Bearer and a token"),
        (b"/", None, {"authorization": b"Bearer a.b.c d"}, 400, "not Bearer and a token"),
        (b"/", None, {"authorization": b"Bearer a.b.c, Bearer a.b.c"}, 400, "not Bearer and a token"),
        (b"/", None, {"authorization": b"Bearer\ta.b.c"}, 401, "scheme Bearer"),
        (b"/", None, {"authorization": b'Bearer "a.b.c"'}, 400, "not Bearer and a token"),
        (b"/", b"c.c.c", {"authorization": b"Basic YTpi"}, 401, "scheme Bearer"),
        (b"/", None, {"authorization": b"Bearerx"}, 401, "scheme Bearer"),
        (b"/", None, {"authorization": b"\xff\xfe"}, 401, "scheme Bearer"),
        (b"/", None, {"authorization": [b"Bearer a.b.c", b"Bearer a.b.c"]}, 400, "more than one Authorization"),
        (b"/", None, {"authorization": b"Bearer " + b"a" * 8193}, 401, "longer than 8192"),
        (b"/?authorization=" + b"a" * 8193, None, {}, 401, "longer than 8192"),
        (b"/", b"a" * 8193, {}, 401, "longer than 8192"),
    ],
)
def test_a_malformed_token_is_present(uri: bytes, cookie: bytes | None, fields: Any, status: int, said: str) -> None:
    with pytest.raises(TokenError, match=said) as caught:
        find_token(request_of(uri, cookie, **fields))
    assert caught.value.status == status
    assert caught.value.error == ("" if "scheme" in said else "invalid_request" if status == 400 else "invalid_token")


def test_a_token_of_the_longest_length_is_found() -> None:
    longest = b"a" * MAX_TOKEN_CHARACTERS
    for request in (
        request_of(authorization=b"Bearer " + longest),
        request_of(b"/?authorization=" + longest),
        request_of(cookie=longest),
    ):
        assert getattr(find_token(request), "token", None) == longest.decode()


@given(st.binary(), st.sampled_from(["header", "query", "cookie"]))
def test_no_bytes_raise_anything_else(raw: bytes, where: str) -> None:
    request = {
        "header": lambda: request_of(authorization=[raw]),
        "query": lambda: request_of(b"/?authorization=" + raw),
        "cookie": lambda: request_of(cookie=raw),
    }[where]()
    with contextlib.suppress(TokenError):
        assert find_token(request)


class Asked(Resource):
    """Answers with the token found, or lets its refusal go out."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        found = find_token(request)
        if found is None:
            raise TokenError.missing()
        return f"{found.token} {found.from_cookie}".encode()


@pytest.mark.parametrize(
    ("line", "answer"),
    [
        (b"Authorization: Bearer h.h.h", b"h.h.h False"),
        (b"Cookie: x=1; mercureAuthorization=c.c.c", b"c.c.c True"),
        (b"Cookie: x=1", b'Bearer realm="mercure"'),
        (b"Authorization: Basic YTpi", b'Bearer realm="mercure"'),
    ],
)
def test_on_a_site(line: bytes, answer: bytes) -> None:
    with Rig(Asked()) as rig:
        (response,) = rig.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
    if response.status == 200:
        assert response.body == answer
    else:
        assert response.status == 401
        assert [value for name, value in response.headers if name == b"www-authenticate"] == [answer]


# -- refusals ------------------------------------------------------------------------------------


def test_refusals_are_those_of_rfc_6750() -> None:
    made = {
        error.error: error
        for make in (TokenError.malformed, TokenError.invalid, TokenError.insufficient)
        for error in [make("why")]
    }
    assert {name: error.status for name, error in made.items()} == {
        "invalid_request": 400,
        "invalid_token": 401,
        "insufficient_scope": 403,
    }
    expected = b'Bearer realm="mercure", error="invalid_token", error_description="why"'
    assert made["invalid_token"].www_authenticate == expected
    assert TokenError.missing().www_authenticate == b'Bearer realm="mercure"'
    assert (TokenError.missing().status, TokenError.missing().error) == (401, "")


def test_a_description_stays_within_its_quotes() -> None:
    error = TokenError(401, "invalid_token", 'a"b\\c\r\nd\x7fä')
    assert error.www_authenticate.endswith(b"error_description=\"a'b'c''d''\"")


# -- by cookie -----------------------------------------------------------------------------------

ORIGINS = [b"https://app.example", b"http://localhost:8080", b"https://[::1]:444"]


@pytest.mark.parametrize(
    ("fields", "allowed"),
    [
        ({}, False),
        ({"origin": b"https://app.example"}, True),
        ({"origin": b"https://app.example", "referer": b"https://evil.example/"}, True),
        ({"origin": b"https://evil.example", "referer": b"https://app.example/"}, False),
        ({"origin": b"null", "referer": b"https://app.example/"}, False),
        ({"origin": b"", "referer": b"https://app.example/"}, False),
        ({"origin": [b"https://app.example", b"https://app.example"]}, False),
        ({"origin": [b"https://app.example", b"https://evil.example"]}, False),
        ({"origin": b"http://app.example"}, False),
        ({"referer": b"https://app.example"}, True),
        ({"referer": b"https://app.example/a?b#c"}, True),
        ({"referer": b"https://app.example?b"}, True),
        ({"referer": b"HTTPS://APP.example:443/"}, True),
        ({"referer": b"http://localhost:8080/a"}, True),
        ({"referer": b"https://[::1]:444/a"}, True),
        ({"referer": b"https://app.example:80/"}, False),
        ({"referer": b"http://app.example/"}, False),
        ({"referer": b"https://app.example.evil.example/"}, False),
        ({"referer": b"https://app.example@evil.example/"}, False),
        ({"referer": b"https://app.example:x@evil.example/"}, False),
        ({"referer": b"https://app.example:443@evil.example/"}, False),
        ({"referer": b"https://evil.example/https://app.example/"}, False),
        ({"referer": b"https://app.example\\evil.example/"}, False),
        ({"referer": b"https:app.example/"}, False),
        ({"referer": b"//app.example/"}, False),
        ({"referer": b"about:blank"}, False),
        ({"referer": b""}, False),
        ({"referer": [b"https://app.example/", b"https://app.example/"]}, False),
    ],
)
def test_whose_pages_may_publish_by_cookie(fields: Any, allowed: bool) -> None:
    request = request_of(**fields)
    assert cookie_origin_allowed(request, ORIGINS) is allowed
    assert cookie_origin_allowed(request, Origins([origin.decode() for origin in ORIGINS])) is allowed
    assert cookie_origin_allowed(request, ()) is False


@given(st.binary())
def test_no_referer_raises(raw: bytes) -> None:
    assert cookie_origin_allowed(request_of(referer=[raw]), ORIGINS) is False
