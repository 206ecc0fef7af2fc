"""``--config`` and ``--check``: where each value comes from, and what is said of a wrong one."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest
from twisted.python.usage import UsageError

from hardhttp.limits import Limits
from hardhttp.tap.configuration import AT_ONCE, KINDS, SECRETS
from hardhttp.tap.options import Options
from hardhttp.tap.optiontable import OPTIONS

ROOT = Path(__file__).resolve().parent.parent.parent
HS256_KEY = "sesame-" * 6


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def parse(text: str, *words: str) -> Options:
    Path("a.toml").write_text(text)
    options = Options()
    options.parseOptions(["--config=a.toml", "--max-connections=100", *words])
    return options


def refusal(text: str, *words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(text, *words)
    return str(caught.value)


def checked(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as caught:
        Options().parseOptions([*words, "--check"])
    said = capsys.readouterr()
    return caught.value.code, said.out, said.err


def test_a_file_says_what_a_command_line_would() -> None:
    options = parse(
        "listen = ['tcp:8081', 'unix:a.sock']\nidle-seconds = 30\nmax-body-bytes = '64MiB'\ncompress = true\n"
        "trusted-proxies = ['10.0.0.7', 'unix']\ncache-control = []\ndevelopment = false\n"
    )
    assert options["listen"] == ["tcp:8081", "unix:a.sock"]
    assert options.limits == Limits(max_connections=100, idle_seconds=30.0, max_body_bytes=64 << 20)
    assert options["compress"]
    assert not options["development"]
    assert [str(network) for network in options.trusted_proxies] == ["10.0.0.7/32", "unix"]


def test_the_command_line_goes_first() -> None:
    options = parse("idle-seconds = 30\nlisten = ['tcp:1', 'tcp:2']", "--idle-seconds=40", "--listen=tcp:3")
    assert options.limits.idle_seconds == 40
    assert options["listen"] == ["tcp:3"]
    assert options.sources.of("idle-seconds") == options.sources.of("listen") == "command line"
    assert options.sources.of("max-body-bytes") == "default"
    assert parse("idle-seconds = 30").sources.of("idle-seconds") == "a.toml, line 1"


def test_a_wrong_value_that_the_command_line_replaces_is_not_looked_at() -> None:
    assert parse("idle-seconds = 'long'", "--idle-seconds=40").limits.idle_seconds == 40


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\nidle-seconds = 'long'", "a.toml, line 2: --idle-seconds: 'long' is not a time"),
        ("max-head-bytes = 1", "a.toml, line 1: --max-head-bytes is 1; it must be from 256 to "),
        ("\n\nwebroot = 'none'", "a.toml, line 3: --webroot "),
        ("rate-limit = 'fast'", "a.toml, line 1: --rate-limit: "),
        ("listen = ['tcp:80', 'ftp:21']", "a.toml, line 1: --listen 'ftp:21'"),
        ("cache-control = ['img']", "a.toml, line 1: --cache-control 'img' must be PATTERN=VALUE"),
        ("mercure-publisher-key = 'env:NONE'\nanonymous = true", "a.toml, line 1: --mercure-publisher-key env:NONE"),
        ("early-hints-to = 'some'", "a.toml, line 1: --early-hints-to is some"),
        ("idel-seconds = 1", "--config: a.toml, line 1: there is no option 'idel-seconds'; did you mean idle-seconds?"),
        ("config = 'b.toml'", "--config: a.toml, line 1: config is for the command line alone"),
        ("check = true", "--config: a.toml, line 1: check is for the command line alone"),
        ("self-test = true", "--config: a.toml, line 1: self-test is for the command line alone"),
    ],
)
def test_what_is_wrong_names_file_line_and_key(text: str, said: str) -> None:
    assert refusal(text).startswith(said)


def test_what_the_command_line_says_wrong_is_not_the_files_fault() -> None:
    assert refusal("compress = true", "--idle-seconds=long").startswith("--idle-seconds: 'long' is not")


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(UsageError, match=r"--config: none\.toml cannot be read: No such file"):
        Options().parseOptions(["--config", "none.toml"])


def test_every_option_has_a_kind_and_every_name_is_one() -> None:
    assert set(KINDS) >= set(OPTIONS) - {"config", "check", "self-test", "help", "version"}
    assert set(OPTIONS) >= SECRETS
    assert set(OPTIONS) >= AT_ONCE


# -- --check -----------------------------------------------------------------------------------


def test_check_says_each_value_and_where_it_is_from(capsys: pytest.CaptureFixture[str]) -> None:
    Path("a.toml").write_text("idle-seconds = 30\ncompress = true\n")
    status, said, wrong = checked(capsys, "--config=a.toml", "--max-connections=77", "--cache-control=a/*=no-store")
    assert (status, wrong) == (1, "--cache-control is for the files of --webroot, and there is none\n")
    status, said, wrong = checked(capsys, "--config=a.toml", "--max-connections=77")
    assert (status, wrong) == (0, "")
    lines = {line.partition(" = ")[0]: line for line in said.splitlines()}
    assert lines["idle-seconds"].split("  # ")[1] == "a.toml, line 1"
    assert lines["max-connections"].split() == ["max-connections", "=", '"77"', "#", "command", "line"]
    assert lines["max-body-bytes"].split("  # ")[1] == "default"
    assert "# webroot is not set" in said
    told = tomllib.loads(said)
    assert told["idle-seconds"] == "30s"
    assert told["compress"] is True
    assert told["listen"] == ["tcp:8080:interface=127.0.0.1"]


def test_what_check_says_is_a_file_that_says_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    words = "--max-connections=77", "--listen=tcp:1", "--handling-seconds=2m", "--compress"
    _, first, _ = checked(capsys, *words)
    Path("b.toml").write_text(first)
    _, second, _ = checked(capsys, "--config=b.toml")
    assert tomllib.loads(second) == tomllib.loads(first)


def test_check_shows_no_secret(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", HS256_KEY)
    status, said, wrong = checked(
        capsys,
        f"--mercure-publisher-key={HS256_KEY}",
        "--mercure-subscriber-key=env:KEY",
        "--session-store=redis://user:sesame@127.0.0.1:1/3",
        "--max-connections=100",
    )
    assert status == 0, wrong
    assert "sesame" not in said + wrong
    told = tomllib.loads(said)
    assert told["mercure-publisher-key"] == "***"
    assert told["mercure-subscriber-key"] == "env:KEY"
    assert told["session-store"] == "redis://***@127.0.0.1:1/3"


def test_check_makes_no_file_and_opens_none(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, wrong = checked(
        capsys,
        "--access-log=access.log",
        "--session-store=sqlite:sessions.db",
        f"--mercure-publisher-key={HS256_KEY}",
        "--anonymous",
        "--history=sqlite:history.db",
        "--max-connections=100",
    )
    assert status == 0, wrong
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--access-log=none/such/a.log"], "cannot be made: there is no directory"),
        (["--access-log=."], "is a directory"),
        ([f"--mercure-publisher-key={HS256_KEY}", "--anonymous", "--history=sqlite:no/a.db"], "--history no/a.db"),
        (["--listen=tls:0:no.pem"], "--listen"),
        (["--app=no.such:thing"], "--app no.such:thing"),
        (["--idle-seconds=long"], "--idle-seconds: 'long'"),
    ],
)
def test_check_finds_what_a_start_would(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    status, out, wrong = checked(capsys, "--max-connections=100", *words)
    assert (status, out) == (1, "")
    assert said in wrong
    assert wrong.count("\n") == 1


def test_the_example_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    status, said, wrong = checked(capsys, f"--config={ROOT / 'examples' / 'hardhttp.toml'}")
    assert (status, wrong) == (0, "")
    assert tomllib.loads(said)["max-connections"] == "500"
