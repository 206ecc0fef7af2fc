"""The soak tool in a test: scenarios put on one's own application, and their verdicts to assert.

A soak runs as a process of its own, ``python -m hardhttp.soak``, so that it needs no reactor of the test's, whatever
event loop that has, and so that its own memory is not the application's. The test waits for it, and the process ends
with the test, however that ends. Samples, verdicts and report stay in the test's ``tmp_path``.

The marker and the fixture are in ``pytest_hardhttp``, which pytest loads; this is what they make.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs

__all__ = ["Soak", "SoakError", "SoakVerdict", "SoakVerdicts"]

# Names of the files are those of hardhttp.soak.results.
REPORT, VERDICTS = "report.html", "verdicts.json"
# A scenario's three rounds, without the start of the server.
SCENARIO_SECONDS = 9.0
# A pattern such as drip-* stands for several; it is not known here how many, but not for more.
MOST_SCENARIOS = 100
# What starting and ending may take besides the run itself.
MARGIN_SECONDS = 90.0
END_SECONDS = 15.0
PASSED, FAILED = 0, 1


class SoakError(Exception):
    """The soak was not run: it was asked for wrongly, the server did not start, or it took too long."""


@attrs.frozen
class SoakVerdict:
    """``kind`` is PASS, DRIFT or LEAK, or None when the scenario was not run; the sentence says why."""

    kind: str | None
    sentence: str
    measure: str | None = None
    figure: float | None = None
    bound: float | None = None


@attrs.frozen
class SoakVerdicts(Mapping[str, SoakVerdict]):
    """Verdicts by scenario. As a text: a line for each, and where the report is."""

    by_scenario: Mapping[str, SoakVerdict]
    report: Path

    @property
    def passed(self) -> bool:
        """Whether each scenario that was run is a PASS, and there is one."""
        kinds = {verdict.kind for verdict in self.values()} - {None}
        return kinds == {"PASS"}

    def __getitem__(self, scenario: str) -> SoakVerdict:
        return self.by_scenario[scenario]

    def __iter__(self) -> Iterator[str]:
        return iter(self.by_scenario)

    def __len__(self) -> int:
        return len(self.by_scenario)

    def __str__(self) -> str:
        lines = [f"{verdict.kind or 'not run'} {name}: {verdict.sentence}" for name, verdict in self.items()]
        return "\n".join([*lines, f"report: {self.report}"])

    __repr__ = __str__


class Soak:
    """What the fixture gives: call it with a server.

    ``scenarios`` are names, or patterns such as ``drip-*``. Each scenario takes ``scenario_seconds``, or all of them
    together ``duration_seconds``. Raises ``SoakError`` without a scenario, or with both times.
    """

    def __init__(
        self,
        scenarios: Sequence[str],
        directory: Path,
        program: Sequence[str] = (sys.executable, "-m", "hardhttp.soak"),
        *,
        duration_seconds: float | None = None,
        scenario_seconds: float | None = None,
        usual_scenario_seconds: float = SCENARIO_SECONDS,
        rounds: int = 3,
        scale: float = 1.0,
    ) -> None:
        if not scenarios:
            raise SoakError("name a scenario at least; hardhttp-soak --list tells what there is")
        self._scenarios, self._directory, self._program = tuple(scenarios), directory, tuple(program)
        if duration_seconds is not None and scenario_seconds is not None:
            raise SoakError("give scenario_seconds, or duration_seconds of all scenarios together")
        if duration_seconds is not None:
            self._time, self._most_seconds = f"--duration={duration_seconds:g}s", duration_seconds
        else:
            each = usual_scenario_seconds if scenario_seconds is None else scenario_seconds
            count = MOST_SCENARIOS if any(mark in name for name in scenarios for mark in "*?[") else len(scenarios)
            self._time, self._most_seconds = f"--each={each:g}s", each * count
        self._rounds, self._scale = rounds, scale
        self._runs = 0

    def __call__(
        self,
        *,
        command: str | None = None,
        url: str | None = None,
        pid: int | None = None,
        paths: Mapping[str, str] | None = None,
        admin_url: str | None = None,
    ) -> SoakVerdicts:
        """Soak a server that ``command`` starts (with ``{port}`` where its port goes), or one that runs at ``url``.

        ``pid`` is the process of the latter, where its port does not tell. ``paths`` says what a path is for
        (``{"large": "/download"}``); scenarios that need one there is not are not run. A server in the test's own
        process must answer from another thread, since this one waits. Raises ``SoakError``.
        """
        if (command is None) == (url is None):
            raise SoakError("soak either a command, which is started, or a url that answers")
        self._runs += 1
        into = self._directory / ("soak" if self._runs == 1 else f"soak-{self._runs}")
        given = {"--command": command, "--target": url, "--pid": pid, "--admin": admin_url}
        words = [f"{option}={value}" for option, value in given.items() if value is not None]
        words += [f"--path={kind}={path}" for kind, path in (paths or {}).items()]
        words += [f"--scenario={name}" for name in self._scenarios]
        words += [self._time, f"--rounds={self._rounds}", f"--scale={self._scale:g}"]
        self._run([*self._program, *words, f"--into={into}"])
        return _read(into)

    def _run(self, words: Sequence[str]) -> None:
        within = self._most_seconds + MARGIN_SECONDS
        pipe = subprocess.PIPE
        with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True) as process:
            try:
                said, complaint = process.communicate(timeout=within)
            except BaseException as error:
                _end(process)
                if isinstance(error, subprocess.TimeoutExpired):
                    raise SoakError(f"the soak did not end within {within:g} s") from None
                raise
        if process.returncode not in (PASSED, FAILED):
            raise SoakError((complaint.strip() or said.strip())[-2000:] or f"it ended with {process.returncode}")


def _end(process: subprocess.Popen[str]) -> None:
    """Politely first: it has a server to end."""
    process.terminate()
    try:
        process.communicate(timeout=END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()


def _read(directory: Path) -> SoakVerdicts:
    try:
        servers = json.loads((directory / VERDICTS).read_text("utf-8"))["servers"]
        (told,) = servers.values()
        known = [field.name for field in attrs.fields(SoakVerdict)]
        found = {
            name: SoakVerdict(**{key: value for key, value in verdict.items() if key in known})
            for name, verdict in told.items()
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SoakError(f"the soak left no verdicts that can be read: {error}") from None
    return SoakVerdicts(found, directory / REPORT)
