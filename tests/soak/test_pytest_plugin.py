"""The plugin in pytest runs of its own: what it gives, what it refuses, and that nobody else notices it."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.twistd_process import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow  # it starts real processes

# Stands for ``python -m hardhttp.soak``: says how it was called, and leaves verdicts.
STUB = """
import json, pathlib, sys
into = next(pathlib.Path(word.split("=", 1)[1]) for word in sys.argv if word.startswith("--into="))
words = [word for word in sys.argv[1:] if not word.startswith("--into=")]
names = [word.split("=")[1] for word in words if word.startswith("--scenario=")]
if "--command=bad {port}" in words:
    print("server does not answer", file=sys.stderr)
    sys.exit(2)
into.mkdir()
kinds = {"idle": "LEAK", "absent": None}
told = {name: {"kind": kinds.get(name, "PASS"), "sentence": " ".join(words), "later": 1} for name in names}
if "--command=silent {port}" not in words:
    (into / "verdicts.json").write_text(json.dumps({"format": 1, "servers": {"server": told}}))
sys.exit(any(each["kind"] == "LEAK" for each in told.values()))
"""
CONFTEST = """
import pathlib, sys, pytest
@pytest.fixture(scope="session")
def soak_program():
    return (sys.executable, str(pathlib.Path(__file__).with_name("stub.py")))
"""


def pytest_run(folder: Path, test: str, *words: str) -> tuple[int, str]:
    """The exit status and the output of a run over one file of tests."""
    (folder / "stub.py").write_text(STUB)
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_it.py").write_text("import sys, pytest\n" + textwrap.dedent(test))
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "pytest_hardhttp", *words],
        cwd=folder,
        env={**ENVIRONMENT, "PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
    )
    return done.returncode, done.stdout + done.stderr


def test_verdicts_of_the_marked_scenarios(tmp_path: Path) -> None:
    status, output = pytest_run(
        tmp_path,
        """
        @pytest.mark.hardhttp_soak("drip-head", "stopped-*", rounds=4, scale=0.5)
        def test_passes(soak, tmp_path):
            found = soak(command="python shop.py {port}", paths={"large": "/x"}, admin_url="http://127.0.0.1:8081")
            assert found.passed
            assert list(found) == ["drip-head", "stopped-*"]
            assert found["drip-head"].kind == "PASS"
            assert found["drip-head"].sentence == (
                "--command=python shop.py {port} --admin=http://127.0.0.1:8081 --path=large=/x"
                " --scenario=drip-head --scenario=stopped-* --each=9s --rounds=4 --scale=0.5"
            )
            assert found.report == tmp_path / "soak" / "report.html"
            again = soak(url="http://127.0.0.1:80/", pid=7)
            assert again.report == tmp_path / "soak-2" / "report.html"
            assert "--target=http://127.0.0.1:80/ --pid=7" in again["drip-head"].sentence

        @pytest.mark.hardhttp_soak("idle", "drip-head", duration_seconds=60)
        def test_leaks(soak):
            found = soak(command="python shop.py {port}")
            assert found["idle"].kind == "LEAK"
            assert "--duration=60s --rounds=3" in found["idle"].sentence
            assert found.passed, found

        @pytest.mark.hardhttp_soak("absent")
        def test_what_was_not_run_has_not_passed(soak):
            assert not soak(command="python shop.py {port}").passed

        @pytest.mark.hardhttp_soak("absent", "drip-head")
        def test_but_is_no_failure_beside_others(soak):
            assert soak(command="python shop.py {port}").passed
        """,
    )
    assert "3 passed" in output, output
    assert "1 failed" in output
    assert "LEAK idle: --command" in output
    assert "report: " in output
    assert status == 1


def test_how_long_a_scenario_takes_is_said_by_the_marker_else_by_the_option(tmp_path: Path) -> None:
    status, output = pytest_run(
        tmp_path,
        """
        @pytest.mark.hardhttp_soak("drip-*")
        def test_option(soak):
            assert "--each=60s --rounds=3" in soak(command="a {port}")["drip-*"].sentence

        @pytest.mark.hardhttp_soak("idle", scenario_seconds=7.5)
        def test_marker(soak):
            assert "--each=7.5s --rounds=3" in soak(command="a {port}")["idle"].sentence

        @pytest.mark.hardhttp_soak("idle", duration_seconds=30)
        def test_all_together(soak):
            assert "--duration=30s --rounds=3" in soak(command="a {port}")["idle"].sentence

        @pytest.mark.hardhttp_soak("idle", scenario_seconds=7, duration_seconds=30)
        def test_both(soak):
            pass
        """,
        "--hardhttp-soak-seconds=60",
    )
    assert "give scenario_seconds, or duration_seconds of all scenarios together" in output, output
    assert "1 error" in output
    assert status == 1


def test_what_is_asked_for_wrongly_is_told(tmp_path: Path) -> None:
    status, output = pytest_run(
        tmp_path,
        """
        def raises(soak, said, **given):
            from hardhttp.soak.pytest_plugin import SoakError
            with pytest.raises(SoakError, match=said):
                soak(**given)

        @pytest.mark.hardhttp_soak("idle")
        def test_server(soak):
            raises(soak, "either a command")
            raises(soak, "either a command", command="a {port}", url="http://127.0.0.1/")
            raises(soak, "^server does not answer$", command="bad {port}")
            raises(soak, "no verdicts that can be read", command="silent {port}")

        def test_no_marker(soak):
            pass

        @pytest.mark.hardhttp_soak()
        def test_no_scenario(soak):
            pass

        @pytest.mark.hardhttp_soak("idle", seconds=3)
        def test_unknown(soak):
            pass
        """,
    )
    assert "1 passed" in output, output
    assert "3 errors" in output
    assert "needs @pytest.mark.hardhttp_soak" in output
    assert "name a scenario at least" in output
    assert "unexpected keyword argument 'seconds'" in output
    assert status == 1


def test_who_does_not_use_it_does_not_notice_it(tmp_path: Path) -> None:
    status, output = pytest_run(
        tmp_path,
        """
        @pytest.fixture
        def soak():
            return "mine"

        def test_own_fixture(soak):
            assert soak == "mine"
            assert not [name for name in sys.modules if name.partition(".")[0] in ("hardhttp", "twisted", "attr")]
        """,
    )
    assert status == 0, output


def test_the_marker_is_listed(tmp_path: Path) -> None:
    status, output = pytest_run(tmp_path, "", "--markers")
    assert status == 0
    assert (
        "@pytest.mark.hardhttp_soak(*scenarios, scenario_seconds=9, duration_seconds=..., rounds=3, scale=1.0)"
        in output
    )


@pytest.mark.slow
def test_a_soak_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from hardhttp.soak import pytest_plugin

    left = tmp_path / "ended"
    hangs = (
        "import signal, sys, time\n"
        f"def end(*_):\n    open({str(left)!r}, 'w').close()\n    sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end)\ntime.sleep(600)"
    )
    monkeypatch.setattr(pytest_plugin, "MARGIN_SECONDS", 2.0)
    soak = pytest_plugin.Soak(["idle"], tmp_path, [sys.executable, "-c", hangs], duration_seconds=1)
    with pytest.raises(pytest_plugin.SoakError, match="did not end within 3 s"):
        soak(command="x {port}")
    assert left.exists()


@pytest.mark.slow
def test_a_real_soak_of_a_real_server(tmp_path: Path) -> None:
    from hardhttp.soak.pytest_plugin import Soak

    soak = Soak(["drip-head"], tmp_path, duration_seconds=8)
    found = soak(command=f"{sys.executable} -m twisted --log-level=error web --listen=tcp:{{port}}:interface=127.0.0.1")
    assert list(found) == ["drip-head"]
    assert found["drip-head"].kind in ("PASS", "DRIFT", "LEAK")
    assert "<h1>" in found.report.read_text("utf-8")
