"""``--workers``: what it takes, what it refuses, and what becomes of it in the parent and in a worker."""

from __future__ import annotations

import json
import os
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from twisted.python.usage import UsageError

from hardhttp.brokers import open_broker
from hardhttp.limits import Limits
from hardhttp.net.inherited import VARIABLE as SOCKETS
from hardhttp.ops.logs import Logs
from hardhttp.ops.workerlink import VARIABLE, Place
from hardhttp.tap.options import Options
from hardhttp.tap.restart import Start
from hardhttp.tap.workeroptions import MAX_WORKERS, share_of
from hardhttp.tap.workers import check_in_a_child, rss_of, worker_command, worker_environment

PLACE = {"number": 2, "serial": 5, "total": 4, "fd": 3, "board": 4, "parent": 1}
HUB = ("--mercure-publisher-key=" + "k" * 32, "--anonymous")
APP = "from twisted.web.resource import Resource\nroot = Resource()\n"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "workershop.py").write_text(APP)
    return tmp_path


def parse(*words: str, parent: dict[str, Any] | None = None) -> Options:
    options = Options()
    options.parent = parent
    options.parseOptions([*words])
    return options


def refusal(*words: str, parent: dict[str, Any] | None = None) -> str:
    with pytest.raises(UsageError) as caught:
        parse(*words, parent=parent)
    return str(caught.value)


# -- what it takes --------------------------------------------------------------------------------


def test_without_it_there_are_none() -> None:
    options = parse()
    assert (options.workers, options.place, options.supervises) == (None, None, False)


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("2", 2), (str(MAX_WORKERS), MAX_WORKERS)])
def test_how_many(text: str, count: int) -> None:
    workers = parse(f"--workers={text}").workers
    assert workers is not None
    assert (workers.count, workers.max_rss_bytes, workers.stuck_seconds) == (count, None, 30)


def test_auto_is_what_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    workers = parse("--workers=auto").workers
    assert workers is not None
    assert workers.count == 3


@pytest.mark.parametrize("text", ["0", str(MAX_WORKERS + 1), "-1", "many", "1.5", ""])
def test_what_is_no_number(text: str) -> None:
    assert f"it must be from 1 to {MAX_WORKERS}, or auto" in refusal(f"--workers={text}")


@pytest.mark.parametrize(
    ("option", "good", "value", "bad"),
    [
        ("worker-max-rss", ["16MiB", "1GiB", "none"], [1 << 24, 1 << 30, None], ["16777215", "much", "0"]),
        ("worker-stuck-seconds", ["2", "1h", "none", "2500ms"], [2, 3600, None, 3], ["1.9", "3601", "soon"]),
    ],
)
def test_bounds(option: str, good: list[str], value: list[int | None], bad: list[str]) -> None:
    field = {"worker-max-rss": "max_rss_bytes", "worker-stuck-seconds": "stuck_seconds"}[option]
    assert [getattr(parse("--workers=2", f"--{option}={text}").workers, field) for text in good] == value
    for text in bad:
        assert f"--{option}: " in refusal("--workers=2", f"--{option}={text}")
    assert f"--{option} is for worker processes, which --workers begins" in refusal(f"--{option}={good[0]}")


# -- what cannot work -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "use"),
    [
        (("--app=workershop:root",), "--session-store sqlite:PATH, or redis://HOST"),
        (HUB, "--broker redis://HOST"),
        ((*HUB, "--broker=memory:"), "--broker redis://HOST"),
    ],
)
def test_what_several_cannot_do_names_what_would(words: tuple[str, ...], use: str) -> None:
    assert use in refusal("--workers=2", *words)
    parse("--workers=1", *words)
    parse(*words)


@pytest.mark.parametrize("count", [1, 2])
def test_a_history_of_one_process_would_be_of_two_while_a_worker_is_replaced(count: int) -> None:
    assert "--broker redis://HOST" in refusal(f"--workers={count}", *HUB, "--history=sqlite:events.db")


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--webroot=.",),
        ("--app=workershop:root", "--session-store=sqlite:sessions.db"),
        ("--app=workershop:root", "--session-store=redis://127.0.0.1:1"),
        (*HUB, "--broker=redis://127.0.0.1:1"),
    ],
)
def test_what_several_can_do(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr("hardhttp.tap.hub.open_broker", lambda url, clock: open_broker("memory:", clock))
    parse("--workers=2", *words)


def test_below_another_root_there_is_no_command_line() -> None:
    assert "--chroot" in refusal("--workers=2", parent={"chroot": "/srv"})


# -- each has its share -----------------------------------------------------------------------------


def test_the_share_is_rounded_up() -> None:
    share = share_of(Limits(max_connections=101), 2)
    assert (share.max_connections, share.max_buffered_bytes) == (51, Limits().max_buffered_bytes // 2)
    assert share.max_connections_per_address == Limits().max_connections_per_address
    assert share_of(Limits(), 1) == Limits()


def test_a_share_that_is_too_little_names_the_option() -> None:
    said = refusal("--workers=256", "--max-buffered-bytes=64KiB")
    assert "--max-buffered-bytes is too little for 256 workers, which share it" in said


def test_a_worker_keeps_to_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, json.dumps(PLACE))
    options = parse("--workers=4", "--max-connections=100")
    assert options.place == Place(**PLACE)
    assert (options.limits.max_connections, options["max-connections"]) == (25, 25)
    assert options.given["max-connections"] == 100, "what SIGHUP compares"
    assert options.admin.endpoint is None
    assert VARIABLE not in os.environ


def test_who_is_no_worker_keeps_to_all() -> None:
    assert parse("--workers=4", "--max-connections=100").limits.max_connections == 100


@pytest.mark.parametrize(
    "text",
    ["", "2", "[]", "{}", '{"number": 1}', json.dumps({**PLACE, "more": 1}), json.dumps({**PLACE, "fd": "3"})],
)
def test_a_place_that_no_parent_gave(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv(VARIABLE, text)
    assert f"{VARIABLE} is not what a parent of workers sets" in refusal()


# -- in the parent ----------------------------------------------------------------------------------


def test_the_parent_loads_nothing_that_only_workers_need(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    (here / "workershop2.py").write_text("raise RuntimeError('loaded')")
    checked: list[Options] = []
    monkeypatch.setattr("hardhttp.tap.options.check_in_a_child", checked.append)
    words = ("--workers=2", "--app=workershop2:root", "--session-store=sqlite:none/sessions.db")
    options = parse(*words, parent={})
    assert options.supervises
    assert checked == [options]
    assert (options.resource, options.mercure) == (None, None)
    with pytest.raises(UsageError):
        parse(*words)


def start_of(*words: str) -> Start:
    return Start(
        words,
        {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "@n", "LISTEN_PID": "1", SOCKETS: "[]", "A": "b"},
        os.getcwd(),
    )


@pytest.mark.parametrize(
    ("words", "before"),
    [
        (("python", "-X", "dev", "/venv/bin/twistd", "-y", "hardhttp"), ["-X", "dev", "/venv/bin/twistd", "-y"]),
        (("python", "program.py"), ["-c", "from twisted.scripts.twistd import run; run()"]),
    ],
)
def test_a_worker_is_begun_by_the_same_command_line(words: tuple[str, ...], before: list[str]) -> None:
    options = parse("--workers=2", "--max-headers=50")
    options.start = start_of(*words, *options.words)
    own = ["--nodaemon", "--pidfile=", "--logfile=-", "hardhttp", "--workers=2", "--max-headers=50"]
    assert worker_command(options) == [sys.executable, *before, *own]
    assert worker_environment(options) == {"PATH": os.environ["PATH"], "A": "b"}


def test_a_command_line_without_words() -> None:
    options = parse()
    options.start = start_of("python", "twistd", "hardhttp")
    assert worker_command(options)[1:] == ["twistd", "--nodaemon", "--pidfile=", "--logfile=-", "hardhttp"]


@pytest.mark.slow
def test_another_process_says_whether_the_options_are_right(here: Path) -> None:
    for word, said in (("--max-headers=50", ""), ("--webroot=nowhere", "--webroot")):
        options = parse("--workers=2")
        options.words.append(word)
        options.start = Start(
            ("python", *options.words), {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}, str(here)
        )
        if said:
            with pytest.raises(UsageError, match=said):
                check_in_a_child(options)
        else:
            check_in_a_child(options)


def test_how_large_a_process_is() -> None:
    assert (rss_of(os.getpid()) or 0) > 1 << 20
    assert rss_of((1 << 22) + 1) is None


# -- logs -------------------------------------------------------------------------------------------


def test_each_line_says_which_worker_tells() -> None:
    event = {"log_time": 0.0, "log_format": "told {n}", "n": 1, "log_namespace": "shop", "log_system": "shop"}
    for form in ("text", "json"):
        file = StringIO()
        logs = Logs(file, object.__new__(_Clock), form, worker=3)
        logs.observer({**event, "log_level": logs_level()})
        line = file.getvalue()
        if form == "json":
            assert json.loads(line)["worker"] == 3
        else:
            assert line.split(" ", 1)[1] == "[worker 3] [shop] told 1\n"
            assert line.startswith(("1970-", "1969-"))


class _Clock:
    def seconds(self) -> float:
        return 0.0


def logs_level() -> Any:
    from twisted.logger import LogLevel

    return LogLevel.info


def test_lines_are_passed_on_as_they_are() -> None:
    file = StringIO()
    Logs(file, _Clock()).pass_on("a line\n€ \n".encode() + b"\xff\n")  # type: ignore[arg-type]
    assert file.getvalue() == "a line\n€ \n\ufffd\n"
