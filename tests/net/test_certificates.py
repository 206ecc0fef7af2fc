"""Certificates in files: what is found, what is read, and what each fault says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from hardhttp.net.certificates import (
    MAX_CERTIFICATES,
    MAX_FILE_BYTES,
    CertificateError,
    Files,
    find_files,
    load_authorities,
    load_certificate,
    stamp,
)
from tests.certificates import DAY, Authority, now


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def one(path: Path) -> Files:
    (files,) = find_files(str(path))
    return files


def fault(path: Path, key: Path | None = None, chain: Path | None = None) -> str:
    files = Files("x", str(path), str(key or path), None if chain is None else str(chain))
    with pytest.raises(CertificateError) as caught:
        load_certificate(files)
    return str(caught.value)


def test_a_file(authority: Authority, tmp_path: Path) -> None:
    path = authority.issue("a.example", "*.A.example.", "192.0.2.7", "2001:db8::7").pem(tmp_path / "a.pem")
    read = load_certificate(one(path))
    assert read.files == Files("a", str(path), str(path))
    assert read.names == ("a.example", "*.a.example", "192.0.2.7", "2001:db8::7")
    assert read.chain == ()


def test_the_order_within_a_file_does_not_matter(authority: Authority, tmp_path: Path) -> None:
    made = authority.issue("a.example")
    above = authority.path.read_bytes()
    parameters = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
    leaf, key = made.certificate, made.key
    for number, parts in enumerate(([key, leaf, above], [leaf, above, key], [parameters, key, leaf])):
        path = tmp_path / f"{number}.pem"
        path.write_bytes(b"".join(parts))
        read = load_certificate(one(path))
        assert read.leaf == made.leaf
        assert len(read.chain) == (above in parts)


def test_a_chain_of_its_own(authority: Authority, tmp_path: Path) -> None:
    made = authority.issue("a.example").pem(tmp_path / "a.pem")
    read = load_certificate(Files("a", str(made), str(made), str(authority.path)))
    assert [above.subject for above in read.chain] == [authority.certificate.subject]


def test_certbots_folders(authority: Authority, tmp_path: Path) -> None:
    for name in ("b.example", "a.example"):
        authority.issue(name).certbot(tmp_path / name)
    (tmp_path / "README").write_text("")
    (tmp_path / "empty").mkdir()
    authority.issue("hidden").certbot(tmp_path / ".hidden")
    found = find_files(str(tmp_path))
    assert [files.name for files in found] == ["a.example", "b.example"]
    assert found[0].key == str(tmp_path / "a.example" / "privkey.pem")
    assert one(tmp_path / "a.example") == found[0]


def test_a_folder_of_files(authority: Authority, tmp_path: Path) -> None:
    authority.issue("a.example").pem(tmp_path / "a.example.pem")
    made = authority.issue("b.example")
    (tmp_path / "b.example.pem").write_bytes(made.certificate)
    (tmp_path / "b.example.key").write_bytes(made.key)
    found = find_files(str(tmp_path))
    assert [(files.name, Path(files.key).name) for files in found] == [
        ("a.example", "a.example.pem"),
        ("b.example", "b.example.key"),
    ]
    assert [load_certificate(files).names for files in found] == [("a.example",), ("b.example",)]


def test_a_folder_without_any(tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match=r"holds no certificate: it must have NAME/fullchain\.pem"):
        find_files(str(tmp_path))


def test_no_more_than_so_many(tmp_path: Path) -> None:
    for number in range(MAX_CERTIFICATES):
        (tmp_path / f"{number}.pem").touch()
    assert len(find_files(str(tmp_path))) == MAX_CERTIFICATES
    (tmp_path / "one.pem").touch()
    with pytest.raises(CertificateError, match="holds 1,001 certificates; there may be 1,000"):
        find_files(str(tmp_path))


def test_what_is_wrong_with_files(authority: Authority, tmp_path: Path) -> None:
    good = authority.issue("a.example")
    path = good.pem(tmp_path / "good.pem")
    missing, empty, large, pipe = (tmp_path / name for name in ("missing", "empty", "large", "pipe"))
    empty.touch()
    large.write_bytes(b"x" * (MAX_FILE_BYTES + 1))
    os.mkfifo(pipe)
    assert fault(missing) == f"{missing} does not exist"
    assert fault(empty) == f"{empty} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
    assert fault(pipe) == f"{pipe} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)"
    assert fault(large) == f"{large} is larger than 1,048,576 bytes, and no certificate is"
    assert fault(tmp_path) == f"{tmp_path} cannot be read: Is a directory"
    assert fault(path, missing) == f"{missing} does not exist"
    assert fault(path, empty) == f"{empty} holds no private key in PEM"
    assert fault(path, chain=empty).startswith(f"{empty} holds no certificate")
    large.write_bytes(good.certificate + good.key + b"\n" * (MAX_FILE_BYTES - len(good.certificate + good.key)))
    assert load_certificate(one(large)).leaf == good.leaf


def test_what_is_wrong_with_keys(authority: Authority, tmp_path: Path) -> None:
    path, key = authority.issue("a.example").pem(tmp_path / "a.pem"), tmp_path / "key"
    other = authority.issue("a.example")
    key.write_bytes(other.key)
    assert fault(path, key) == f"the key in {key} is not that of the certificate in {path}"
    key.write_bytes(other.sealed(b"secret"))
    said = fault(path, key)
    assert said.startswith(f"the key in {key} needs a passphrase; `openssl pkey")
    lines = other.key.splitlines(keepends=True)
    key.write_bytes(b"".join([lines[0], b"MFRVZHJ1Y2s=\n", lines[-1]]))
    assert fault(path, key) == f"{key} holds a private key that cannot be read"
    assert "MFRV" not in repr(load_certificate(one(path)))
    assert "PRIVATE" not in repr(load_certificate(one(path)))
    public = other.private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    key.write_bytes(public)
    assert fault(path, key) == f"{key} holds no private key in PEM"


def test_dates(authority: Authority, tmp_path: Path) -> None:
    begin = now().replace(microsecond=0)
    read = load_certificate(one(authority.issue("a", begin=begin, end=begin + DAY).pem(tmp_path / "a.pem")))
    second = begin.timestamp()
    assert read.complaint(second) is None
    assert read.complaint(second + 86_399) is None
    assert f"a.pem expired on {begin + DAY:%Y-%m-%d %H:%M} UTC" in str(read.complaint(second + 86_400))
    assert f"a.pem is not valid before {begin:%Y-%m-%d %H:%M} UTC" in str(read.complaint(second - 1))


def test_names_are_the_alternative_ones(authority: Authority, tmp_path: Path) -> None:
    made = authority.issue(common_name="a.example")
    assert load_certificate(one(made.pem(tmp_path / "a.pem"))).names == ()


def test_authorities(authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    both = tmp_path / "both.pem"
    both.write_bytes(authority.path.read_bytes() + other.path.read_bytes())
    assert len(load_authorities(str(both))) == 2
    with pytest.raises(CertificateError, match="holds no certificate in PEM"):
        load_authorities(os.devnull)


def test_a_stamp_changes_with_the_file(tmp_path: Path) -> None:
    path, other = tmp_path / "a", tmp_path / "b"
    assert stamp([str(path)]) == (None,)
    path.write_bytes(b"1")
    seen = [stamp([str(path)])]
    path.write_bytes(b"12")
    os.utime(path, ns=(0, seen[0][0][0]))  # type: ignore[index] # same time, another size
    seen.append(stamp([str(path)]))
    os.utime(path, ns=(0, 1))
    seen.append(stamp([str(path)]))
    other.write_bytes(b"34")
    os.utime(other, ns=(0, 1))
    os.replace(other, path)  # same time and size, another file
    seen.append(stamp([str(path)]))
    assert len(set(seen)) == 4
