"""Static files: seen as they are now, with all that HTTP says about them."""

from __future__ import annotations

import errno
import gzip
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.web import server as twisted_server
from twisted.web.resource import Resource

from hardhttp.errors import Reason
from hardhttp.testing import Response, Rig, parse_responses
from hardhttp.web import fileroot
from hardhttp.web.compression import Compressed
from hardhttp.web.contenttypes import content_type
from hardhttp.web.fileanswer import SMALL_BYTES
from hardhttp.web.filecache import SETTLED_SECONDS
from hardhttp.web.static import StaticFiles
from hardhttp.web.variants import is_fingerprinted
from hardhttp.wire.conditional import http_date
from tests.net.loopback import Client, Loopback, blocking, result_of, until
from tests.net.test_sendfile import FromFile
from tests.web.saying import say

Ask = Callable[..., Response]
LARGE = bytes(range(256)) * 1024  # 256 KiB
YEAR = b"public, max-age=31536000, immutable"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "sub" / "deep").mkdir(parents=True)
    (root / "index.html").write_text("<p>home")
    (root / "a.txt").write_text("0123456789")
    (root / "sub" / "b.txt").write_text("b")
    (root / "sub" / "deep" / "c.txt").write_text("c")
    (root / "large.bin").write_bytes(LARGE)
    (tmp_path / "outside.txt").write_text("outside")
    return root


class Served:
    """A rig around static files. At ``rest`` all files are old enough to be kept in memory."""

    def __init__(self, root: Path, *, rest: bool = False, mounted: bool = False, **options: Any) -> None:
        self.files = StaticFiles(root, **options)
        resource: Any = self.files
        if mounted:
            resource = Resource()
            resource.putChild(b"m", self.files)
        self.rig = Rig(resource)
        if rest:
            self.at_rest(root)

    def at_rest(self, root: Path) -> None:
        newest = max((path.lstat().st_ctime for path in (root, *root.rglob("*")) if path.exists()), default=0.0)
        self.rig.clock.rightNow = max(self.rig.clock.rightNow, newest + SETTLED_SECONDS + 1)

    def ask(self, target: str | bytes = "/a.txt", method: bytes = b"GET", **headers: bytes) -> Response:
        target = target.encode() if isinstance(target, str) else target
        (response,) = self.rig.exchange(say(method, target, **headers), methods=[method])
        return response

    def __enter__(self) -> Served:
        self.rig.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        self.rig.__exit__(*why)


# -- what is there -------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [False, True])
def test_a_file_and_what_is_said_of_it(root: Path, rest: bool) -> None:
    with Served(root, rest=rest) as served:
        for _ in range(3):
            response = served.ask("/a.txt")
            assert (response.status, response.body) == (200, b"0123456789")
            assert response.get(b"content-type") == b"text/plain; charset=utf-8"
            assert response.get(b"content-length") == b"10"
            assert response.get(b"accept-ranges") == b"bytes"
            assert response.get(b"x-content-type-options") == b"nosniff"
            assert response.get(b"cache-control") == b"no-cache"
            assert response.get(b"vary") is None
            assert re.fullmatch(rb'"[0-9a-f]{24}"', response.get(b"etag") or b"")
            mtime = (root / "a.txt").stat().st_mtime
            now = served.rig.clock.seconds()
            assert response.get(b"last-modified") == http_date(min(mtime, now))
        assert len(served.files.cache) == rest


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/", b"<p>home"), ("/index.html", b"<p>home"), ("/sub/b.txt", b"b"), ("/sub/deep/c.txt", b"c"),
        ("/a.txt?x=1", b"0123456789"), ("/%61.txt", b"0123456789"), ("/large.bin", LARGE),
    ],
)  # fmt: skip
def test_paths(root: Path, rest: bool, target: str, body: bytes) -> None:
    with Served(root, rest=rest) as served:
        for _ in range(2):
            response = served.ask(target)
            assert (response.status, response.body) == (200, body)


@pytest.mark.parametrize(
    "target", ["/none", "/a.txt/", "/a.txt/b", "/sub/", "/sub/none.txt", "/none/a.txt", "/" + "a" * 300]
)
def test_what_is_not_there(root: Path, target: str) -> None:
    with Served(root) as served:
        assert served.ask(target).status == 404


def test_the_largest_small_file_and_the_smallest_large_one(root: Path) -> None:
    for size in (0, 1, SMALL_BYTES - 1, SMALL_BYTES, SMALL_BYTES + 1):
        (root / "file").write_bytes(LARGE[:size])
        with Served(root) as served:
            assert served.ask("/file").body == LARGE[:size]
            assert served.ask("/file", Range=b"bytes=-2").body == LARGE[:size][-2:]


def test_names_that_must_be_encoded(root: Path) -> None:
    with Served(root) as served:
        for name, target in (
            ("\u00e4 b#?.txt", "/%C3%A4%20b%23%3F.txt"),
            ("a;b.txt", "/a;b.txt"),
            ("a+b", "/a+b"),
            ("100%", "/100%25"),
        ):
            (root / name).write_text(name)
            assert served.ask(target).body == name.encode()


def test_a_name_is_decoded_once(root: Path) -> None:
    (root / "a%2etxt").write_text("with a percent sign")
    with Served(root) as served:
        assert served.ask("/a%252etxt").body == b"with a percent sign"
        assert served.ask("/a%2etxt").body == b"0123456789"


# -- V14 -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rest", [False, True])
def test_v14_a_file_is_seen_when_it_is_added_changed_and_removed(root: Path, rest: bool) -> None:
    path = root / "new.txt"
    with Served(root, rest=rest) as served:

        def step(expected: int | bytes) -> None:
            for _ in range(2):  # the second one may come from memory
                if rest:
                    served.at_rest(root)
                response = served.ask("/new.txt")
                assert (response.body if response.status == 200 else response.status) == expected

        step(404)
        path.write_text("one")
        step(b"one")
        path.write_text("two")  # as long as before, in the same file
        step(b"two")
        (root / "other").write_text("three")
        os.replace(root / "other", path)
        step(b"three")
        path.unlink()
        step(404)
        path.mkdir()
        step(301)
        path.rmdir()
        path.write_text("again")
        step(b"again")


@pytest.mark.parametrize("rest", [False, True])
def test_v14_also_index_siblings_directories_and_the_root(root: Path, rest: bool) -> None:
    with Served(root, rest=rest, index=("first.html", "index.html")) as served:

        def body(target: str, **headers: bytes) -> int | bytes:
            answers = []
            for _ in range(2):
                if rest:
                    served.at_rest(root)
                response = served.ask(target, **headers)
                answers.append(response.body if response.status == 200 else response.status)
            assert answers[0] == answers[1]
            return answers[0]

        assert body("/") == b"<p>home"
        (root / "first.html").write_text("first")
        assert body("/") == b"first"
        (root / "first.html").unlink()
        assert body("/") == b"<p>home"
        assert body("/a.txt", Accept_Encoding=b"gzip") == b"0123456789"
        (root / "a.txt.gz").write_bytes(gzip.compress(b"0123456789"))
        assert body("/a.txt", Accept_Encoding=b"gzip") == (root / "a.txt.gz").read_bytes()
        (root / "a.txt").write_text("changed")
        assert body("/a.txt", Accept_Encoding=b"gzip") == b"changed"
        os.rename(root / "sub", root / "gone")
        assert body("/sub/b.txt") == 404
        os.rename(root / "gone", root / "sub")
        assert body("/sub/b.txt") == b"b"
        os.rename(root, root.parent / "away")
        assert body("/a.txt", Accept_Encoding=b"gzip") == 404
        os.rename(root.parent / "away", root)
        assert body("/sub/b.txt") == b"b"


def test_v14_a_root_that_is_a_link_may_be_switched(root: Path, tmp_path: Path) -> None:
    """As deployments do."""
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.txt").write_text("the new release")
    link = tmp_path / "current"
    link.symlink_to(root)
    with Served(link) as served:
        served.at_rest(root)
        assert served.ask().body == served.ask().body == b"0123456789"
        assert len(served.files.cache) == 1
        link.unlink()
        link.symlink_to(other)
        assert served.ask().body == b"the new release"


def test_a_root_that_is_not_there_yet(tmp_path: Path) -> None:
    with Served(tmp_path / "later") as served:
        assert served.ask().status == 404
        assert served.ask("/").status == 404
        (tmp_path / "later").mkdir()
        (tmp_path / "later" / "a.txt").write_text("here")
        assert served.ask().body == b"here"


def test_a_file_that_changes_while_it_is_read_is_read_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, left = root / "a.txt", [3]
    real = fileroot.Visit.open

    def changes(visit: Any, relative: bytes) -> Any:
        opened = real(visit, relative)
        if left[0]:
            left[0] -= 1
            path.write_text(f"changed {left[0]}")
        return opened

    monkeypatch.setattr(fileroot.Visit, "open", changes)
    with Served(root) as served:
        assert served.ask().body == b"changed 0"
        left[0] = 4
        assert served.ask().status == 500
        assert len(served.rig.flush()) == 1


# -- methods, redirects, fallback ----------------------------------------------------------------


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("target", ["/a.txt", "/large.bin", "/", "/none", "/sub"])
def test_head_is_get_without_its_body(root: Path, rest: bool, target: str) -> None:
    with Served(root, rest=rest) as served:
        served.ask(target)
        get, head = served.ask(target), served.ask(target, b"HEAD")
        assert head.body == b""
        drop = {b"x-request-id", b"content-length"} if get.status == 404 else set()
        assert [f for f in head.headers if f[0] not in drop] == [f for f in get.headers if f[0] not in drop]


def test_other_methods(root: Path) -> None:
    with Served(root) as served:
        for method in (b"POST", b"PUT", b"DELETE", b"PATCH"):
            response = served.ask(method=method)
            assert (response.status, response.get(b"allow")) == (405, b"GET, HEAD, OPTIONS")
        response = served.ask(method=b"OPTIONS")
        assert (response.status, response.get(b"allow"), response.body) == (204, b"GET, HEAD, OPTIONS", b"")
    assert (root / "a.txt").read_text() == "0123456789"


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/sub", b"./sub/"),
        ("/sub?q=/&x=//evil.example", b"./sub/?q=/&x=//evil.example"),
        ("/sub/deep", b"./deep/"),
        ("/%73ub", b"./%73ub/"),
        ("/sub?", b"./sub/?"),
    ],
)
def test_a_directory_without_its_slash(root: Path, target: str, location: bytes) -> None:
    with Served(root) as served:
        response = served.ask(target)
        assert (response.status, response.get(b"location")) == (301, location)
        assert response.get(b"cache-control") == b"no-cache"


def test_a_mount_without_its_slash(root: Path) -> None:
    with Served(root, mounted=True) as served:
        assert served.ask("/m?q").get(b"location") == b"./m/?q"
        assert served.ask("/m/").body == b"<p>home"
        assert served.ask("/m/sub/b.txt").body == b"b"
        assert served.ask("/m/sub").get(b"location") == b"./sub/"
        assert served.ask("/m").status == 301  # and not from memory


@pytest.mark.parametrize("name", ["evil.example", "\\evil.example", "http:", "javascript:alert(1)", "@evil.example"])
def test_a_redirect_stays_here(root: Path, name: str) -> None:
    (root / name).mkdir()
    with Served(root) as served:
        for prefix in ("/", "//", "/\\", "/%2f", "/./", "/%5c"):
            location = served.ask(prefix + name).get(b"location")
            assert location is None or location.startswith(b"./")


HTML = b"text/html,application/xhtml+xml,*/*;q=0.8"


@pytest.mark.parametrize(
    ("target", "accept", "status"),
    [
        ("/shop/42", HTML, 200), ("/shop/", HTML, 200), ("/sub/shop", HTML, 200),
        ("/shop/42", b"application/json", 404), ("/shop/42", b"*/*", 404), ("/shop/42", None, 404),
        ("/shop/42", b"text/html;q=0, */*", 404), ("/app.js", HTML, 404), ("/shop/v1.2", HTML, 404),
        ("/../x", HTML, 404), ("/%2e%2e/x", HTML, 404), ("/.git", HTML, 404),
    ],
)  # fmt: skip
@pytest.mark.parametrize("rest", [False, True])
def test_the_fallback_of_an_application_in_one_page(
    root: Path, target: str, accept: bytes | None, status: int, rest: bool
) -> None:
    with Served(root, fallback="index.html", rest=rest) as served:
        for _ in range(2):
            response = served.ask(target, **({} if accept is None else {"Accept": accept}))
            assert response.status == status
            if status == 200:
                assert response.body == b"<p>home"
                assert response.get(b"vary") == b"Accept"
        assert served.ask(target, b"POST", Accept=HTML).status == 405
        assert served.ask("/a.txt", Accept=HTML).body == b"0123456789"


def test_a_fallback_that_is_not_there(root: Path) -> None:
    with Served(root, fallback="none.html") as served:
        assert served.ask("/x", Accept=HTML).status == 404


@pytest.mark.parametrize(
    "options",
    [
        {"fallback": "../x.html"}, {"fallback": ""}, {"fallback": "sub/"}, {"index": ["a/../b"]}, {"index": [".x"]},
        {"content_types": {".x": "text"}}, {"content_types": {".x": "text/x\r\nA: b"}},
        {"cache_control": [("*", "a\nb")]},
    ],
)  # fmt: skip
def test_arguments_that_make_no_sense(root: Path, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be|no content type"):
        StaticFiles(root, **options)


# -- conditional requests and ranges -------------------------------------------------------------


@pytest.mark.parametrize("rest", [False, True])
def test_conditions(root: Path, rest: bool) -> None:
    with Served(root, rest=rest) as served:
        served.ask()
        first = served.ask()
        etag, date = first.get(b"etag") or b"", first.get(b"last-modified") or b""
        assert served.ask(If_None_Match=etag).status == 304
        assert served.ask(If_None_Match=b'"x", W/' + etag).status == 304
        assert served.ask(If_None_Match=b"*").status == 304
        assert served.ask(If_None_Match=b'"x"').status == 200
        assert served.ask(If_Modified_Since=date).status == 304
        assert served.ask(If_Modified_Since=http_date(0)).status == 200
        assert served.ask(If_None_Match=b'"x"', If_Modified_Since=date).status == 200
        assert served.ask(If_Match=b'"x"').status == 412
        assert served.ask(If_Match=etag).status == 200
        assert served.ask(If_Unmodified_Since=http_date(0)).status == 412
        response = served.ask(method=b"HEAD", If_None_Match=etag)
        assert (response.status, response.body, response.get(b"etag")) == (304, b"", etag)
        assert response.get(b"cache-control") == b"no-cache"
        assert response.get(b"content-type") is response.get(b"content-length") is None


def test_an_entity_tag_is_of_time_size_inode_and_coding(root: Path) -> None:
    path = root / "a.txt"
    path.with_name("a.txt.gz").write_bytes(gzip.compress(b"0123456789"))
    with Served(root) as served:
        tags = [served.ask().get(b"etag"), served.ask(Accept_Encoding=b"gzip").get(b"etag")]
        os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))
        tags.append(served.ask().get(b"etag"))
        at = path.stat().st_mtime_ns
        path.write_text("0123456789a")
        os.utime(path, ns=(0, at))
        tags.append(served.ask().get(b"etag"))
        (root / "b").write_text("0123456789b")
        os.utime(root / "b", ns=(0, at))
        os.replace(root / "b", path)
        tags.append(served.ask().get(b"etag"))
        assert len(set(tags)) == 5


def test_no_date_lies_ahead(root: Path) -> None:
    """RFC 9110, 8.8.2.1."""
    with Served(root) as served:
        for seconds in (served.rig.clock.seconds() + 1000, 1e11, -5.0):
            os.utime(root / "a.txt", (seconds, seconds))
            response = served.ask()
            expected = http_date(0) if seconds < 0 else response.get(b"date")
            assert (response.status, response.get(b"last-modified")) == (200, expected)


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("large", [False, True])
def test_ranges(root: Path, rest: bool, large: bool) -> None:
    target, content = ("/large.bin", LARGE) if large else ("/a.txt", b"0123456789")
    size = len(content)
    with Served(root, rest=rest) as served:
        etag = served.ask(target).get(b"etag") or b""
        for _ in range(2):
            part = served.ask(target, Range=b"bytes=2-4")
            assert (part.status, part.body) == (206, content[2:5])
            assert part.get(b"content-range") == b"bytes 2-4/%d" % size
            assert part.get(b"etag") == etag
            assert served.ask(target, Range=b"bytes=-3").body == content[-3:]
            assert served.ask(target, Range=b"bytes=3-").body == content[3:]
            assert served.ask(target, Range=b"bytes=1-2,1-2,2-4").body == content[1:5]
            assert served.ask(target, Range=b"lines=1-2").status == 200
            wrong = served.ask(target, Range=b"bytes=%d-" % size)
            assert (wrong.status, wrong.get(b"content-range")) == (416, b"bytes */%d" % size)
            assert served.ask(target, b"HEAD", Range=b"bytes=2-4").status == 200  # RFC 9110, 14.2
            assert served.ask(target, Range=b"bytes=2-4", If_None_Match=etag).status == 304
            assert served.ask(target, Range=b"bytes=2-4", If_Range=etag).status == 206
            assert served.ask(target, Range=b"bytes=2-4", If_Range=b'"x"').body == content
            assert served.ask(target, Range=b"bytes=2-4", If_Range=b"W/" + etag).body == content
            assert served.ask(target, Range=b"bytes=2-4", If_Range=http_date(5)).body == content


def test_if_range_with_a_date(root: Path) -> None:
    with Served(root) as served:
        os.utime(root / "a.txt", (10**9, 10**9))
        assert served.ask(Range=b"bytes=2-4", If_Range=http_date(10**9)).status == 206
        assert served.ask(Range=b"bytes=2-4", If_Range=http_date(10**9 + 1)).status == 200


def parts_of(response: Response) -> list[tuple[bytes, bytes]]:
    """(Content-Range, content) of a multipart/byteranges body, which must be nothing else."""
    kind = response.get(b"content-type") or b""
    assert kind.startswith(b"multipart/byteranges; boundary=")
    boundary = kind.partition(b"=")[2]
    first, *parts, last = (b"\r\n" + response.body).split(b"\r\n--" + boundary)
    assert (first, last) == (b"", b"--\r\n")
    found = []
    for part in parts:
        head, _, content = part.partition(b"\r\n\r\n")
        match = re.fullmatch(rb"\r\nContent-Type: ([^\r]*)\r\nContent-Range: ([^\r]*)", head)
        assert match is not None
        found.append((match[2], content))
    return found


def test_a_thousand_overlapping_ranges_cost_one_file(root: Path) -> None:
    with Served(root) as served:
        response = served.ask("/large.bin", Range=b"bytes=" + b",".join([b"0-"] * 1000))
        assert len(response.body) == len(LARGE)
        response = served.ask("/large.bin", Range=b"bytes=" + b",".join([b"0-"] * 60))
        assert (response.status, response.body) == (206, LARGE)
        response = served.ask("/large.bin", Range=b"bytes=" + b",".join(b"%d-%d" % (i, i) for i in range(0, 120, 2)))
        assert (response.status, response.body) == (206, LARGE[:119])


POSITIONS = st.integers(0, len(LARGE) + 1000)
ASKED = st.one_of(
    st.tuples(POSITIONS, st.integers(0, 2000)).map(lambda pair: (pair[0], pair[0] + pair[1])),
    POSITIONS.map(lambda at: (at, None)),
    POSITIONS.map(lambda count: (None, count)),
)


@pytest.mark.slow
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(ASKED, min_size=1, max_size=6), st.sampled_from(["/large.bin", "/a.txt"]))
def test_the_bytes_of_ranges_are_those_of_the_file(
    tmp_path: Path, asked: list[tuple[int | None, int | None]], target: str
) -> None:
    root = tmp_path / "ranges"
    root.mkdir(exist_ok=True)
    content = LARGE if target == "/large.bin" else b"0123456789"
    (root / target[1:]).write_bytes(content)
    wanted: set[int] = set()
    for first, last in asked:
        if first is None:
            wanted |= set(range(max(0, len(content) - (last or 0)), len(content)))
        else:
            wanted |= set(range(first, len(content) if last is None else min(last + 1, len(content))))
    value = ",".join(f"{'' if a is None else a}-{'' if b is None else b}" for a, b in asked).encode()
    with Served(root) as served:
        response = served.ask(target, Range=b"bytes=" + value)
        if not wanted:
            assert response.status == 416
            return
        assert response.status == 206
        single = response.get(b"content-range")
        parts = parts_of(response) if single is None else [(single, response.body)]
        assert len(parts) > 1 or single is not None
        sent: set[int] = set()
        for where, body in parts:
            match = re.fullmatch(rb"bytes (\d+)-(\d+)/(\d+)", where)
            assert match is not None
            start, last, size = map(int, match.groups())
            assert size == len(content)
            assert body == content[start : last + 1]
            assert sent.isdisjoint(range(start, last + 1))
            sent |= set(range(start, last + 1))
        assert wanted <= sent
        assert len(response.body) <= len(content) + 300


# -- codings -------------------------------------------------------------------------------------


@pytest.fixture
def coded(root: Path) -> Path:
    for suffix in ("br", "zst", "gz"):
        (root / f"a.txt.{suffix}").write_text(f"as {suffix}")
    return root


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize(
    ("accept", "coding", "body"),
    [
        (None, None, b"0123456789"), (b"", None, b"0123456789"), (b"deflate", None, b"0123456789"),
        (b"gzip", b"gzip", b"as gz"), (b"x-gzip", b"gzip", b"as gz"), (b"gzip, deflate, br, zstd", b"br", b"as br"),
        (b"gzip, zstd", b"zstd", b"as zst"), (b"br;q=0.5, gzip", b"gzip", b"as gz"), (b"br;q=0, *", b"zstd", b"as zst"),
        (b"identity, br;q=0.5", None, b"0123456789"), (b"identity;q=0, *;q=0", None, b"0123456789"),
    ],
)  # fmt: skip
def test_a_sibling_is_sent_to_whom_it_suits(
    coded: Path, rest: bool, accept: bytes | None, coding: bytes | None, body: bytes
) -> None:
    with Served(coded, rest=rest) as served:
        for _ in range(2):
            response = served.ask(**({} if accept is None else {"Accept_Encoding": accept}))
            assert (response.get(b"content-encoding"), response.body) == (coding, body)
            assert response.get(b"vary") == b"Accept-Encoding"
            assert response.get(b"content-type") == b"text/plain; charset=utf-8"
            same = served.ask(
                If_None_Match=response.get(b"etag") or b"", **({} if accept is None else {"Accept_Encoding": accept})
            )
            assert (same.status, same.get(b"vary")) == (304, b"Accept-Encoding")


def test_a_stale_sibling_is_not_used(coded: Path) -> None:
    at = (coded / "a.txt").stat().st_mtime_ns
    os.utime(coded / "a.txt.br", ns=(at - 1, at - 1))
    os.utime(coded / "a.txt.zst", ns=(at, at))
    with Served(coded) as served:
        assert served.ask(Accept_Encoding=b"br, zstd;q=0.5").body == b"as zst"
        assert served.ask(Accept_Encoding=b"br").body == b"0123456789"
        assert served.ask(Accept_Encoding=b"br").get(b"vary") == b"Accept-Encoding"


def test_siblings_that_are_no_files_and_the_option(coded: Path) -> None:
    (coded / "a.txt.br").unlink()
    (coded / "a.txt.br").mkdir()
    (coded / "a.txt.zst").unlink()
    (coded / "a.txt.zst").symlink_to(coded.parent / "outside.txt")
    with Served(coded) as served:
        assert served.ask(Accept_Encoding=b"br, zstd").body == b"0123456789"
    with Served(coded, precompressed=False) as served:
        response = served.ask(Accept_Encoding=b"gzip")
        assert (response.body, response.get(b"vary")) == (b"0123456789", None)


def test_a_range_is_of_the_variant_that_is_sent(coded: Path) -> None:
    with Served(coded) as served:
        etag = served.ask(Accept_Encoding=b"br").get(b"etag") or b""
        part = served.ask(Accept_Encoding=b"br", Range=b"bytes=3-", If_Range=etag)
        assert (part.status, part.body, part.get(b"content-range")) == (206, b"br", b"bytes 3-4/5")
        assert part.get(b"content-encoding") == b"br"
        whole = served.ask(Range=b"bytes=3-", If_Range=etag)  # another variant's
        assert (whole.status, whole.body) == (200, b"0123456789")


def test_a_sibling_asked_for_by_name_is_itself(coded: Path) -> None:
    with Served(coded) as served:
        response = served.ask("/a.txt.gz", Accept_Encoding=b"gzip")
        assert response.get(b"content-encoding") is None
        assert response.get(b"content-type") == b"application/gzip"


# -- types and Cache-Control ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (b"a.html", b"text/html; charset=utf-8"), (b"a.JS", b"text/javascript; charset=utf-8"),
        (b"a.mjs", b"text/javascript; charset=utf-8"), (b"a.json", b"application/json; charset=utf-8"),
        (b"a.svg", b"image/svg+xml; charset=utf-8"), (b"a.xml", b"application/xml; charset=utf-8"),
        (b"a.woff2", b"font/woff2"), (b"a.wasm", b"application/wasm"), (b"a.avif", b"image/avif"),
        (b"a.webp", b"image/webp"), (b"a.tar.gz", b"application/gzip"), (b"a", b"application/octet-stream"),
        (b"a.", b"application/octet-stream"), (b".html", b"application/octet-stream"),
        (b"a.unknown", b"application/octet-stream"), (b"html", b"application/octet-stream"),
    ],
)  # fmt: skip
def test_types_by_name(name: bytes, kind: bytes) -> None:
    assert content_type(name) == kind


def test_types_of_ones_own(root: Path) -> None:
    (root / "x.gcode").write_text("G28")
    with Served(root, content_types={".GCODE": "text/x-gcode", "txt": "text/plain; charset=latin-1"}) as served:
        assert served.ask("/x.gcode").get(b"content-type") == b"text/x-gcode"
        assert served.ask("/a.txt").get(b"content-type") == b"text/plain; charset=latin-1"
    with Served(root, nosniff=False) as served:
        assert served.ask("/a.txt").get(b"x-content-type-options") is None


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        (b"app.3f2a9c1b.js", True), (b"app-3f2a9c1b.min.css", True), (b"app_3F2A9C1B0.js", True),
        (b"app.3f2a9c1.js", False), (b"report-20241231.pdf", False), (b"deadbeef.js", False), (b"a.deadbeef.js", False),
        (b"3f2a9c1b.js", False), (b"app.3f2a9c1b", False), (b"app.3f2a9c1g.js", False), (b"app3f2a9c1b.js", False),
    ],
)  # fmt: skip
def test_fingerprints(name: bytes, is_one: bool) -> None:
    assert is_fingerprinted(name) is is_one


def test_cache_control_by_pattern(root: Path) -> None:
    (root / "app.3f2a9c1b.js").write_text("1")
    with Served(root) as served:
        assert served.ask("/app.3f2a9c1b.js").get(b"cache-control") == YEAR
        assert served.ask("/").get(b"cache-control") == b"no-cache"
    rules = [("sub/*", "max-age=60"), ("*.txt", None), ("*.js", "no-store")]
    with Served(root, cache_control=rules) as served:
        assert served.ask("/sub/b.txt").get(b"cache-control") == b"max-age=60"
        assert served.ask("/sub/deep/c.txt").get(b"cache-control") == b"max-age=60"
        assert served.ask("/a.txt").get(b"cache-control") is None
        assert served.ask("/app.3f2a9c1b.js").get(b"cache-control") == b"no-store"
        assert served.ask("/").get(b"cache-control") == b"no-cache"


# -- what may not be served ----------------------------------------------------------------------


@pytest.mark.parametrize("rest", [False, True])
def test_dotfiles(root: Path, rest: bool) -> None:
    (root / ".git").mkdir()
    (root / ".git" / "config").write_text("secret")
    (root / ".env").write_text("secret")
    (root / ".well-known").mkdir()
    (root / ".well-known" / "security.txt").write_text("seen")
    (root / ".well-known" / ".hidden").write_text("secret")
    with Served(root, rest=rest) as served:
        for target in ("/.env", "/.git/config", "/.git", "/.git/", "/%2eenv", "/.well-known/.hidden"):
            assert served.ask(target).status == 404
        assert served.ask("/.well-known/security.txt").body == b"seen"
    with Served(root, dotfiles=True) as served:
        assert served.ask("/.env").body == b"secret"
        assert served.ask("/sub/../.env").status == 404


@pytest.mark.parametrize("tells", [True, False])
def test_links_and_what_is_no_file(root: Path, tmp_path: Path, tells: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fileroot, "_TELLS", tells)
    outside = tmp_path / "root2"  # its name begins as the root's does
    outside.mkdir()
    (outside / "secret.txt").write_text("outside")
    (root / "out.txt").symlink_to(tmp_path / "outside.txt")
    (root / "up").symlink_to("..")
    (root / "out").symlink_to(outside)
    (root / "loop").symlink_to("loop")
    (root / "dangling").symlink_to("nothing")
    (root / "in.txt").symlink_to("sub/b.txt")
    (root / "in").symlink_to("sub")
    (root / "self").symlink_to(".")
    os.mkfifo(root / "fifo")
    with socket.socket(socket.AF_UNIX) as bound:
        monkeypatch.chdir(root)
        bound.bind("socket")
        (root / "null").symlink_to("/dev/null")
        (root / "proc").symlink_to("/proc/self/environ")
        for rest in (False, True):
            with Served(root, rest=rest) as served:
                for target in (
                    "/out.txt", "/up/outside.txt", "/up/", "/out/secret.txt", "/out/", "/loop", "/dangling", "/fifo",
                    "/socket", "/null", "/proc",
                ):  # fmt: skip
                    assert served.ask(target).status == 404
                    assert served.ask(target, b"HEAD").status == 404
                inside = 200 if tells else 404
                assert served.ask("/in.txt").status == inside
                assert served.ask("/in/b.txt").status == inside
                assert served.ask("/self/self/a.txt").status == inside
                assert served.ask("/sub/deep/c.txt").body == b"c"
                assert served.ask("/large.bin").body == LARGE
        with Served(root, follow_symlinks=True) as served:
            assert served.ask("/out.txt").body == b"outside"
            assert served.ask("/out/secret.txt").body == b"outside"
            for target in ("/fifo", "/socket", "/null", "/loop", "/dangling"):
                assert served.ask(target).status == 404


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("tells", [False, True])
def test_a_link_put_in_a_files_place_between_look_and_opening(
    root: Path, tmp_path: Path, rest: bool, tells: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fileroot, "_TELLS", tells)
    path = root / "a.txt"
    real = os.open

    def swaps(name: Any, *args: Any, **options: Any) -> int:
        if name == b"a.txt" and not path.is_symlink():  # as late as can be: it is being opened
            path.unlink()
            path.symlink_to(tmp_path / "outside.txt")
        return real(name, *args, **options)

    with Served(root, rest=rest) as served:
        monkeypatch.setattr(os, "open", swaps)
        assert served.ask().status == 404
        assert served.ask().status == 404


@pytest.mark.parametrize("name", ["a.txt", "sub/b.txt", "sub/deep/c.txt"])
def test_what_is_in_memory_is_not_served_by_a_link(root: Path, tmp_path: Path, name: str) -> None:
    """The very file, moved outside and linked to, is outside: also when a directory above it was moved."""
    top = name.partition("/")[0]
    with Served(root, rest=True) as served:
        served.ask("/" + name)
        assert served.ask("/" + name).status == 200
        assert len(served.files.cache) == 1
        os.rename(root / top, tmp_path / "moved")
        (root / top).symlink_to(tmp_path / "moved")
        assert served.ask("/" + name).status == 404


def test_what_may_not_be_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refuses(path: Any, flags: int, *args: Any, **options: Any) -> int:
        if not flags & os.O_PATH:
            raise PermissionError(errno.EACCES, "no")
        return real(path, flags, *args, **options)

    monkeypatch.setattr(os, "open", refuses)
    with Served(root) as served:
        for target in ("/a.txt", "/large.bin"):
            assert served.ask(target).status == 403
            assert served.ask(target, b"HEAD").status == 403


def test_without_a_descriptor_it_is_503_and_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, left = os.open, [0]

    def runs_out(*args: Any, **options: Any) -> int:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.EMFILE, "too many")
        return real(*args, **options)

    monkeypatch.setattr(os, "open", runs_out)
    with Served(root, rest=True) as served:
        refused = 0
        for enough in range(12):
            for target in ("/a.txt", "/large.bin"):
                served.files.cache._entries.clear()
                left[0] = enough
                response = served.ask(target)
                assert response.status in (503, 200)
                if response.status == 503:
                    refused += 1
                    assert response.get(b"retry-after") == b"2"
        assert refused >= 8
        assert response.status == 200
        assert served.rig.site.statistics.refused[Reason.DESCRIPTORS] == refused
        left[0] = 100
        assert served.ask().status == 200
        left[0] = 0
        assert served.ask().status == 200  # what is in memory needs none


def test_no_descriptor_is_left_open(root: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    (root / "out.txt").symlink_to("/etc/passwd")
    with Served(root, listing=True) as served:
        for target in ("/a.txt", "/large.bin", "/none", "/out.txt", "/sub/", "/sub", "/", "/a.txt/x"):
            served.ask(target)
            served.ask(target, b"HEAD")
            served.ask(target, Range=b"bytes=1-2,1000-1001")
            served.ask(target, Range=b"bytes=999999999-")
            served.ask(target, If_None_Match=b"*")
        assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("segment", "is_there"),
    [
        (b"a.txt", True),
        (b"sub", True),
        (b"none", False),
        (b"", False),
        (b"..", False),
        (b".env", False),
        (b"sub/b.txt", False),
    ],
)
def test_has(root: Path, segment: bytes, is_there: bool) -> None:
    (root / ".env").write_text("secret")
    assert StaticFiles(root).has(segment) is is_there


# -- other places to stand -----------------------------------------------------------------------


class UnderTwisted:
    """The same under ``twisted.web.server.Site``, on a real socket."""

    def __init__(self, root: Path, **options: Any) -> None:
        from twisted.internet import reactor

        resource = Resource()
        resource.putChild(b"m", StaticFiles(root, **options))
        self.port: Any = reactor.listenTCP(0, twisted_server.Site(resource, reactor=reactor), interface="127.0.0.1")

    def __enter__(self) -> UnderTwisted:
        self.client = Client(socket.create_connection(("127.0.0.1", self.port.getHost().port)))
        return self

    def ask(self, target: bytes, method: bytes = b"GET", **headers: bytes) -> Response:
        self.client.received = b""
        self.client.send_all(say(method, target, **headers))
        (response,) = self.client.responses(1, method)
        return response

    def __exit__(self, *_: object) -> None:
        self.client.close()
        result_of(self.port.stopListening())


@blocking
def test_under_twisted_web(coded: Path) -> None:
    with UnderTwisted(coded, listing=True) as served:
        for _ in range(2):
            response = served.ask(b"/m/a.txt")
            assert (response.status, response.body) == (200, b"0123456789")
            assert response.get(b"last-modified")
            assert served.ask(b"/m/large.bin").body == LARGE
            assert served.ask(b"/m/large.bin", Range=b"bytes=5-,0-1").body == LARGE
        assert served.ask(b"/m/a.txt", b"HEAD").get(b"content-length") == b"10"
        assert served.ask(b"/m/large.bin", b"HEAD").get(b"content-length") == b"%d" % len(LARGE)
        assert served.ask(b"/m/a.txt", Accept_Encoding=b"gzip").body == b"as gz"
        assert served.ask(b"/m/a.txt", Range=b"bytes=1-2").body == b"12"
        assert served.ask(b"/m/a.txt", Range=b"bytes=99-").status == 416
        assert len(parts_of(served.ask(b"/m/large.bin", Range=b"bytes=0-1,5000-5001"))) == 2
        assert served.ask(b"/m/a.txt", If_None_Match=response.get(b"etag") or b"").status == 304
        assert served.ask(b"/m/none").status == 404
        assert served.ask(b"/m/%2e%2e/outside.txt").status == 404
        assert served.ask(b"/m").get(b"location") == b"./m/"
        assert served.ask(b"/m/a.txt", b"POST").status == 405
        assert served.ask(b"/m/a.txt", b"OPTIONS").status == 204
        assert b"b.txt" in served.ask(b"/m/sub/").body


@blocking
def test_under_twisted_web_a_file_that_became_shorter_ends_the_connection(root: Path) -> None:
    with (root / "huge").open("wb") as made:
        made.truncate(64 << 20)
    with UnderTwisted(root) as served:
        served.client.send_all(say(target=b"/m/huge"))
        until(lambda: served.client.take(), "the first bytes")
        os.truncate(root / "huge", 100)
        served.client.end()
        assert len(served.client.received) < 64 << 20
        assert served.client.was_reset


@blocking
def test_on_a_real_socket_with_pipelined_requests(root: Path) -> None:
    with Loopback(StaticFiles(root)) as site:
        client = site.connect()
        client.send_all(
            b"".join(say(target=target) for target in (b"/a.txt", b"/large.bin", b"/sub/b.txt", b"/large.bin"))
        )
        bodies = [response.body for response in client.responses(4)]
        assert bodies == [b"0123456789", LARGE, b"b", LARGE]
        assert parse_responses(client.received)[1] == b""


@pytest.mark.parametrize("name", ["a.txt", "large.txt"])
def test_compressed_on_the_way(root: Path, name: str) -> None:
    """A wrapper that encodes the body gets to see it: it does not go around it by ``sendfile``."""
    (root / name).write_bytes(LARGE if name == "large.txt" else LARGE[:5000])
    with Rig(Compressed(StaticFiles(root)), FromFile) as rig:
        for _ in range(2):
            (response,) = rig.exchange(say(target=b"/" + name.encode(), Accept_Encoding=b"gzip"))
            assert response.get(b"content-encoding") == b"gzip"
            assert gzip.decompress(response.body) == (root / name).read_bytes()
            (part,) = rig.exchange(say(target=b"/" + name.encode(), Accept_Encoding=b"gzip", Range=b"bytes=1-100"))
            assert (part.status, part.get(b"content-encoding"), part.body) == (206, None, LARGE[1:101])
            (same,) = rig.exchange(
                say(target=b"/" + name.encode(), Accept_Encoding=b"gzip", If_None_Match=response.get(b"etag") or b"")
            )
            assert same.status == 304
        peer = rig.connect()
        peer.take(1000)
        peer.send(say(target=b"/large.bin"))
        assert peer.transport.sends_files
        assert FromFile.calls
        os.truncate(root / "large.bin", 10)
        peer.take(None)
        assert peer.aborted
