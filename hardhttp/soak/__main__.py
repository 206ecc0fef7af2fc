"""``hardhttp-soak``: a run from its command line to its report, and its exit status.

0: every verdict on the server under test is PASS. 1: there is a DRIFT or a LEAK, or no verdict on what was run. 2: it
was used wrongly, or the server did not start. 130: it was interrupted; ``--resume`` goes on. Servers that it is
compared with (``--against``) do not change the status.
"""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred

from hardhttp.soak.catalogue import CATALOGUE
from hardhttp.soak.commandline import Wrong, own, replay_of, said, servers_of, state_of, token_of
from hardhttp.soak.facts import about, facts
from hardhttp.soak.plan import State
from hardhttp.soak.report import write_report
from hardhttp.soak.results import VERDICTS, write_verdicts
from hardhttp.soak.runner import SAMPLES, Runner
from hardhttp.soak.samples import read_samples
from hardhttp.soak.summary import Row, rows, runs, too_short, worst_of
from hardhttp.soak.target import Running, Started, TargetError
from hardhttp.soak.terminal import print_rows, watcher
from hardhttp.soak.verdict import Kind

__all__ = ["main"]

PASSED, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
MOST_DESCRIPTORS = 65_536
REPORT = "report.html"


def run(
    state: State,
    servers: Mapping[str, Running | Started],
    directory: Path,
    admin_token: str | None,
    replayed: Sequence[tuple[str, str]] = (),
) -> bool:
    """The run itself, on the reactor. False: it was interrupted. Raises what the runner raises."""
    from twisted.internet import reactor as installed

    reactor: Any = installed
    failed: list[Any] = []
    with watcher(state.plan) as watching:
        runner = Runner(reactor, state, servers, directory, watching, admin_token, replayed)

        def begin() -> None:
            Deferred.fromCoroutine(runner.run()).addErrback(failed.append).addCallback(finish)

        def finish(_: object) -> None:
            ended.callback(None)
            _stop(reactor)

        def interrupted() -> Deferred[None]:
            runner.stop()
            return ended

        ended: Deferred[None] = Deferred()
        reactor.callWhenRunning(begin)
        reactor.addSystemEventTrigger("before", "shutdown", interrupted)
        reactor.run()
    if failed:
        failed[0].raiseException()
    return all(step in state.done for name in servers if name not in state.problems for step in state.plan.steps(name))


def allow_descriptors() -> None:
    """Each client is one. Servers are started with what this process was started with."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MOST_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _stop(reactor: Any) -> None:
    from twisted.internet.error import ReactorNotRunning

    try:
        reactor.stop()
    except ReactorNotRunning:  # it is being stopped, and waited for us
        pass


def report(state: State, servers: Mapping[str, Running | Started], directory: Path) -> list[Row]:
    """What there is so far, as rows, and as the report where there is anything to draw."""
    samples = list(read_samples(directory / SAMPLES)) if (directory / SAMPLES).exists() else []
    found = rows(state, samples)
    write_verdicts(directory / VERDICTS, found)
    drawn = runs(state, samples, found, about(servers))
    if drawn:
        said = {name: CATALOGUE[name].says() for name in state.plan.scenarios}
        write_report(directory / REPORT, drawn, facts(state, servers), scenarios=said, notes=too_short(state.plan))
    return found


def list_scenarios() -> None:
    """On standard output, which may be a pipe to whoever wants to see the first lines alone."""
    try:
        for name, kind in CATALOGUE.items():
            needs = "".join(f" --path {path}=..." for path in sorted(kind.needs))
            print(f"{name:24}{needs}\n    {' '.join((kind.__doc__ or '').replace('``', '').split())}")
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main(words: Sequence[str] | None = None) -> int:
    """The exit status. ``words``: the command line, without the program's name."""
    words = sys.argv[1:] if words is None else words
    asked = said(words)
    if asked.list:
        list_scenarios()
        return PASSED
    directory = Path(asked.into)
    try:
        asked.scenario = own(asked.scenario)
        directory.mkdir(parents=True, exist_ok=True)
        servers = servers_of(asked, directory)
        state = state_of(asked, servers, directory, words)
        replayed = replay_of(asked.replay)
        admin_token = token_of(asked.admin_token)
    except (Wrong, OSError) as error:
        print(f"hardhttp-soak: {error}", file=sys.stderr)
        return USAGE
    first = next(iter(servers))
    allow_descriptors()
    try:
        whole = run(state, servers, directory, admin_token, replayed)
    except (TargetError, OSError) as error:
        print(f"hardhttp-soak: {error}", file=sys.stderr)
        return USAGE
    if first in state.problems and not state.seen(first):
        print(f"hardhttp-soak: {state.problems[first]}", file=sys.stderr)
        return USAGE
    found = report(state, servers, directory)
    print_rows(found)
    if (directory / REPORT).exists():
        print(f"the report: {directory / REPORT}")
    if not whole:
        print(f"hardhttp-soak: interrupted; go on with --resume --into {directory}")
        return INTERRUPTED
    worst = worst_of(found, first)
    undecided = any(row.undecided for row in found if row.server == first)
    return PASSED if worst is Kind.PASS and not undecided else FAILED


if __name__ == "__main__":
    sys.exit(main())
