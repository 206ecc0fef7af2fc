"""The options of ``twistd hardhttp``: each at its bound and past it, and what each refusal says."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import pytest_twisted
import treq
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.usage import UsageError
from twisted.web.resource import IResource

from hardhttp.limits import Limits
from hardhttp.tap import Figures, Options, Serving, makeService, where
from hardhttp.tap.checks import DEFAULT_LISTEN, SPARE_DESCRIPTORS
from hardhttp.tap.optiontable import OPTIONS
from hardhttp.tap.resources import WebrootOver, load_app
from hardhttp.units import format_size
from hardhttp.web.static import StaticFiles

FIELDS = {field.name: field for field in attrs.fields(Limits)}
INFINITE = resource.RLIM_INFINITY


def descriptors(monkeypatch: pytest.MonkeyPatch, soft: int, hard: int = INFINITE) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda what: (soft, hard))


@pytest.fixture(autouse=True)
def room(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As many descriptors as any option may ask for, and a directory of one's own."""
    descriptors(monkeypatch, INFINITE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))


def parse(*words: str) -> Options:
    options = Options()
    options.parseOptions(list(words))
    return options


def refusal(*words: str) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*words)
    said = str(caught.value)
    assert "\n" not in said
    return said


def option(name: str) -> str:
    return "--" + name.replace("_", "-")


# -- limits ------------------------------------------------------------------------------------


def test_without_options_the_limits_are_the_defaults() -> None:
    options = parse()
    assert options.limits == Limits()
    assert options.resource is None
    assert options["listen"] == [DEFAULT_LISTEN]
    assert options["access-log"] == "none"
    assert not options["development"]


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_limit_at_its_bound(name: str, end: str) -> None:
    bound = FIELDS[name].metadata[end]
    limits = parse(f"{option(name)}={bound}").limits
    assert getattr(limits, name) == bound
    assert type(getattr(limits, name)) is (int if FIELDS[name].metadata["whole"] else float)
    assert attrs.evolve(limits, **{name: FIELDS[name].default}) == Limits()


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("end", ["low", "high"])
def test_a_limit_one_past_its_bound(name: str, end: str) -> None:
    metadata = FIELDS[name].metadata
    step = (1 if metadata["whole"] else 0.001) * (1 if end == "high" else -1)
    given = f"{metadata[end] + step:.15g}" if not metadata["whole"] else str(metadata[end] + step)
    said = refusal(f"{option(name)}={given}")
    assert option(name) in said
    assert given in said
    if name.endswith("_seconds"):
        assert "from 10ms to " in said
    else:
        assert f"from {metadata['low']:,} to {metadata['high']:,}" in said


@pytest.mark.parametrize("name", FIELDS)
@pytest.mark.parametrize("given", ["", "many", "1x", "nan", "-1", "1,000", "1e3"])
def test_what_is_not_a_limit_at_all(name: str, given: str) -> None:
    said = refusal(f"{option(name)}={given}")
    assert said.startswith(f"{option(name)}: {given!r} is not ")
    assert "it must be from " in said


@pytest.mark.parametrize("name", FIELDS)
def test_none_is_for_those_that_may_be_off(name: str) -> None:
    if FIELDS[name].metadata["optional"]:
        assert getattr(parse(f"{option(name)}=none").limits, name) is None
        assert "or none" in refusal(f"{option(name)}=0")
    else:
        assert "'none'" in refusal(f"{option(name)}=none")


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ("10MiB", "max_body_bytes", 10 << 20),
        ("10MB", "max_body_bytes", 10_000_000),
        ("64k", "max_head_bytes", 64 << 10),
        ("1048576", "max_head_bytes", 1 << 20),
        ("1KiB", "send_bytes_per_second", 1024),
        ("2m", "idle_seconds", 120.0),
        ("90s", "idle_seconds", 90.0),
        ("1h", "drain_seconds", 3600.0),
        ("1.5", "abort_seconds", 1.5),
        ("500ms", "handling_seconds", 0.5),
    ],
)
def test_units(given: str, name: str, value: float) -> None:
    assert getattr(parse(option(name), given).limits, name) == value


def test_the_last_of_two_wins() -> None:
    assert parse("--max-connections=5", "--max-connections=7").limits.max_connections == 7


# -- help --------------------------------------------------------------------------------------


def test_help_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse("--help")
    assert caught.value.code == 0
    said = capsys.readouterr().out
    for field in FIELDS.values():
        assert f"\n  {option(field.name)}=" in said
        assert field.metadata["help"] in " ".join(said.split())
    for name, each in OPTIONS.items():
        assert f"\n  --{name}" + ("\n" if each.value is None else f"={each.value}\n") in said
        assert each.help in " ".join(said.split())
    assert said.count("twistd -n hardhttp") == 4
    assert max(map(len, said.splitlines())) <= 84


def test_every_default_that_help_shows_is_one_that_parses() -> None:
    shown = re.findall(r"^  (--[a-z-]+=\S+)$", Options().getUsage(), re.M)
    limits = [word for word in shown if word.partition("=")[0][2:].replace("-", "_") in FIELDS]
    assert len(limits) == len(FIELDS)
    assert parse(*limits).limits == Limits()


def test_help_is_as_wide_as_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert "loopback and trusted proxies are exempt" in Options().getUsage()


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse("--version")
    assert re.fullmatch(r"hardhttp \d\S*, Twisted \d\S*\n", capsys.readouterr().out)


def test_words_that_are_no_options() -> None:
    assert refusal("--max-conections=5") == "option --max-conections not recognized; did you mean --max-connections?"
    assert refusal("--zzzz") == "option --zzzz not recognized"
    assert refusal("public") == "'public' belongs to no option; a directory of files is --webroot public"


def test_what_is_wrong_is_not_lost_below_every_option() -> None:
    """twistd prints the usage above the error."""
    options = Options()
    with pytest.raises(UsageError):
        options.parseOptions(["--max-connections=lots"])
    assert options.getUsage() == "twistd hardhttp --help tells of all options."
    assert "--max-connections=1000" in Options().getUsage()


# -- descriptors -------------------------------------------------------------------------------


def test_connections_that_just_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors(monkeypatch, 1024)
    assert parse(f"--max-connections={1024 - SPARE_DESCRIPTORS}").limits.max_connections == 1000


def test_connections_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors(monkeypatch, 1024, 4096)
    assert refusal("--max-connections=1001") == (
        "--max-connections 1001 needs 1025 descriptors, but this process may open 1024: "
        "run `ulimit -n 1025` first, or choose --max-connections 1000"
    )


def test_the_default_is_judged_too(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors(monkeypatch, 256)
    assert "choose --max-connections 232" in refusal()


def test_more_than_the_hard_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors(monkeypatch, 1024, 4096)
    assert "the hard limit is 4096" in refusal("--max-connections=5000")


def test_when_nothing_would_fit_nothing_is_advised(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors(monkeypatch, SPARE_DESCRIPTORS)
    said = refusal("--max-connections=1")
    assert "ulimit -n 25" in said
    assert "choose" not in said
    descriptors(monkeypatch, SPARE_DESCRIPTORS + 1)
    assert parse("--max-connections=1").limits.max_connections == 1


# -- listening ---------------------------------------------------------------------------------


def test_listen_may_be_repeated() -> None:
    given = ["tcp:8080", "unix:run.sock", "tcp6:8081", "tcp:65535"]
    assert parse(*(f"--listen={description}" for description in given))["listen"] == given


@pytest.mark.parametrize(
    "given",
    ["", "8080", "tcp", "tcp:http", "tcp:80:colour=red", "tcp:65536", "tcp6:port=65536", "tcp:-1:interface=::1"],
)
def test_what_is_not_an_endpoint(given: str) -> None:
    said = refusal("--listen", given)
    assert said.startswith(f"--listen {given!r}: ")
    assert said.endswith(f"an endpoint looks like {DEFAULT_LISTEN}")


# -- the access log ----------------------------------------------------------------------------


def test_the_access_log_stays_where_it_was_meant_to_be(tmp_path: Path) -> None:
    """twistd may change its directory before it opens it."""
    assert parse("--access-log=access.log")["access-log"] == str(tmp_path / "access.log")
    assert parse("--access-log=-")["access-log"] == "-"
    assert parse("--access-log=none")["access-log"] == "none"


@pytest.mark.parametrize("given", [".", "none/access.log"])
def test_an_access_log_that_cannot_be_written(tmp_path: Path, given: str) -> None:
    said = refusal(f"--access-log={given}")
    assert said.startswith(f"--access-log {os.path.abspath(given)} cannot be written: ")


# -- what is served ----------------------------------------------------------------------------


def test_a_webroot(tmp_path: Path) -> None:
    (tmp_path / "public").mkdir()
    options = parse("--webroot=public")
    assert isinstance(options.resource, StaticFiles)
    assert options["webroot"] == str(tmp_path / "public")


def test_what_is_not_a_webroot(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for given in ("none", "file"):
        assert refusal(f"--webroot={given}") == f"--webroot {tmp_path / given} is not a directory"
    assert refusal("--webroot=") == "--webroot is empty; the current directory is --webroot ."


@pytest.fixture
def app(tmp_path: Path) -> Iterator[str]:
    """A module of applications, good and bad, in the current directory."""
    source = """
        from twisted.web.resource import Resource

        class Leaf(Resource):
            isLeaf = True

        class Holder:
            leaf = Leaf()
            def make(self):
                return Leaf()

        tree = Leaf()
        holder = Holder()
        number = 7
        def broken(): raise RuntimeError("no database")
        def picky(argument): return tree
        def seven(): return 7
        async def later(): return tree
    """
    name = f"app_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(textwrap.dedent(source))
    yield name
    sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["tree", "Leaf", "Holder.leaf", "holder.leaf", "holder.make"])
def test_an_application(app: str, name: str) -> None:
    resource = parse(f"--app={app}:{name}").resource
    assert IResource.providedBy(resource)
    assert type(resource).__name__ == "Leaf"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("nothing", "has no 'nothing'"),
        ("holder.nothing", "has no 'holder.nothing'"),
        ("number", "a int is neither an IResource nor returns one"),
        ("seven", "a int is neither an IResource nor returns one"),
        ("later", "a coroutine is neither an IResource nor returns one"),
        ("broken", "calling it failed: RuntimeError: no database ("),
        ("picky", "calling it failed: TypeError: "),
    ],
)
def test_what_is_not_an_application(app: str, name: str, said: str) -> None:
    refused = refusal(f"--app={app}:{name}")
    assert refused.startswith(f"--app {app}:{name}: ")
    assert said in refused


@pytest.mark.parametrize("given", ["", "shop", "shop:", ":root", "shop.root"])
def test_an_application_has_a_module_and_a_name(given: str) -> None:
    assert refusal(f"--app={given}") == f"--app is {given!r}; it must be MODULE:NAME, such as shop.web:root"


def test_a_module_that_is_not_there() -> None:
    assert "there is no module 'no_such_module'" in refusal("--app=no_such_module:root")
    assert "there is no module 'no_such_module'" in refusal("--app=no_such_module.deep:root")
    assert "there is no module 'email.no_such'" in refusal("--app=email.no_such:root")


@pytest.mark.parametrize("source", ["import no_such_module", "1 / 0", "def (", "import sys; sys.path.nothing"])
def test_a_module_that_cannot_be_imported(tmp_path: Path, source: str) -> None:
    (tmp_path / "failing_app.py").write_text(f"# an application\n{source}\n")
    said = refusal("--app=failing_app:root")
    assert "failing_app.py, line 2" in said
    assert "Error: " in said
    assert "there is no module" not in said


def test_both(app: str, tmp_path: Path) -> None:
    assert isinstance(parse(f"--app={app}:tree", f"--webroot={tmp_path}").resource, WebrootOver)


@pytest.mark.parametrize(
    "segment", [b"", b".", b"..", b".git", b".htaccess", b"a/b", b"..\\", b"\0", b"a\0", b"none", b"\xff"]
)
def test_a_segment_the_webroot_does_not_have(tmp_path: Path, segment: bytes) -> None:
    for name in (".git", ".htaccess", "a"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "b").write_text("")
    assert not StaticFiles(tmp_path).has(segment)


def test_a_segment_the_webroot_has(tmp_path: Path) -> None:
    for name in ("file", "ü", "a b"):
        (tmp_path / name).write_text("")
    (tmp_path / ".well-known").mkdir()
    os.mkfifo(tmp_path / "pipe")
    webroot = StaticFiles(tmp_path)
    for name in ("file", "ü", "a b", ".well-known"):
        assert webroot.has(name.encode())
    assert not webroot.has(b"pipe")


def test_load_app_searches_the_current_directory_once(app: str) -> None:
    before = list(sys.path)
    load_app(f"{app}:tree")
    load_app(f"{app}:tree")
    assert sys.path == [os.getcwd(), *(path for path in before if path != os.getcwd())]


# -- the service -------------------------------------------------------------------------------


def test_the_site_is_as_asked_for(app: str, tmp_path: Path) -> None:
    options = parse(f"--app={app}:tree", "--access-log=access.log", "--development", "--max-body-bytes=1k")
    service: Any = makeService(options)
    assert service.site.limits.max_body_bytes == 1024
    assert service.site.displayTracebacks is True
    assert service.site.access_log.path == str(tmp_path / "access.log")
    assert service.site.resource is options.resource


def test_by_default_no_traceback_and_no_access_log() -> None:
    service: Any = makeService(parse())
    assert service.site.displayTracebacks is False
    assert service.site.access_log is None


@pytest_twisted.ensureDeferred
async def test_v12_it_may_be_stopped_and_started_again(tmp_path: Path) -> None:
    service: Any = makeService(parse("--listen=tcp:0:interface=127.0.0.1", "--access-log=access.log"))
    for _ in range(2):
        service.startService()
        (port,) = service.ports
        url = f"http://127.0.0.1:{port.getHost().port}/figures"
        response = await treq.get(url, persistent=False)
        assert (await response.json())["limits"] == attrs.asdict(Limits())
        await service.stopService()
        assert service.ports == []
    assert len((tmp_path / "access.log").read_text().splitlines()) == 2
    service.startService()
    await service.stopService()


@pytest.mark.parametrize("start", ["privilegedStartService", "startService"])
def test_outside_twistd_a_busy_port_raises(start: str, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        description = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        service: Any = makeService(parse(f"--listen={description}", "--access-log=access.log"))
        before = signal.getsignal(signal.SIGHUP)
        with pytest.raises(CannotListenError):
            getattr(service, start)()
        assert service.ports == []
        assert signal.getsignal(signal.SIGHUP) is before


@pytest_twisted.ensureDeferred
async def test_sighup_has_a_handler_before_anything_listens(monkeypatch: pytest.MonkeyPatch) -> None:
    # Who reads in the log that it listens may send one at once, before twistd has come to startService.
    before, seen = signal.getsignal(signal.SIGHUP), []
    service: Any = makeService(parse("--listen=tcp:0:interface=127.0.0.1"))
    monkeypatch.setattr(
        service, "_begin", lambda: seen.append(signal.getsignal(signal.SIGHUP)) or Serving._begin(service)
    )
    service.privilegedStartService()
    assert seen != [before]
    service.startService()
    assert signal.getsignal(signal.SIGHUP) is seen[0]
    await service.stopService()
    assert signal.getsignal(signal.SIGHUP) is before


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (IPv4Address("TCP", "127.0.0.1", 8080), "http://127.0.0.1:8080/"),
        (IPv6Address("TCP", "::1", 8080), "http://[::1]:8080/"),
        (IPv4Address("TCP", "0.0.0.0", 80), "http://127.0.0.1:80/ (and every other address of this machine)"),
        (IPv6Address("TCP", "::", 80), "http://[::1]:80/ (and every other address of this machine)"),
        (UNIXAddress("/run/shop"), "/run/shop"),
        (UNIXAddress(b"/run/shop"), "/run/shop"),
    ],
)
def test_where_to_browse_to(address: Any, said: str) -> None:
    port = StringTransport(hostAddress=address)
    assert where(port) == said


def test_where_to_browse_to_with_tls(tmp_path: Path) -> None:
    port = StringTransport(hostAddress=IPv4Address("TCP", "127.0.0.1", 443))
    port.factory = TLSMemoryBIOFactory(CertificateOptions(), False, Factory())  # type: ignore[attr-defined]
    assert where(port) == "https://127.0.0.1:443/"


class TestFigures:
    """They are made while somebody listens, and never stop being made."""

    class Stream:
        subscriber_count = 0

        def __init__(self) -> None:
            self.published: list[Any] = []

        def publish(self, data: Any) -> None:
            self.published.append(data)

    def test_only_while_somebody_listens(self) -> None:
        clock, stream, made = Clock(), self.Stream(), iter(range(100))
        figures = Figures(lambda: {"n": next(made)}, stream, clock)  # type: ignore[arg-type]
        figures.start()
        clock.pump([1.0] * 3)
        assert stream.published == []
        stream.subscriber_count = 1
        clock.pump([1.0] * 2)
        assert stream.published == [{"n": 0}, {"n": 1}]
        figures.stop()
        assert clock.getDelayedCalls() == []
        figures.stop()

    def test_one_failure_is_one_second(self) -> None:
        clock, stream = Clock(), self.Stream()
        stream.subscriber_count = 1
        answers: Iterator[Any] = iter([{"n": 0}, RuntimeError(), {"n": 2}])

        def made() -> dict[str, Any]:
            answer = next(answers)
            if isinstance(answer, Exception):
                raise answer
            return answer

        figures = Figures(made, stream, clock)  # type: ignore[arg-type]
        figures.start()
        clock.pump([1.0] * 3)
        figures.stop()
        assert stream.published == [{"n": 0}, {"n": 2}]


def test_sizes_in_refusals_are_readable() -> None:
    assert format_size(FIELDS["max_head_bytes"].metadata["high"]) in refusal("--max-head-bytes=1g")


def test_trusted_proxies_are_addresses_and_networks() -> None:
    options = Options()
    options.parseOptions(["--trusted-proxies", "10.0.0.7, 2001:db8::/32"])
    assert [str(network) for network in options.trusted_proxies] == ["10.0.0.7/32", "2001:db8::/32"]
    for wrong in ("10.0.0.300", "10.0.0.7/8", "proxy"):
        with pytest.raises(UsageError, match="--trusted-proxies"):
            Options().parseOptions(["--trusted-proxies", wrong])
