"""What ``hardhttp-soak`` can be asked for, and what that means: servers, scenarios, and where a run begins.

Whatever is asked for wrongly is ``Wrong``, with a text that says what would do; nothing has been started then.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from twisted.python.usage import UsageError

from hardhttp.soak.adminside import check_admin_url, check_token
from hardhttp.soak.catalogue import CATALOGUE, choose, load
from hardhttp.soak.peers import PEERS
from hardhttp.soak.plan import Plan, State, make_plan
from hardhttp.soak.runner import SAMPLES, STATE
from hardhttp.soak.scenario import PATHS
from hardhttp.soak.scenarios.visitors import read_log
from hardhttp.soak.target import Running, Started, named, owner_of
from hardhttp.soak.where import NotOwnError, Where, is_loopback
from hardhttp.tap.checks import resolved
from hardhttp.units import UnitError, parse_seconds

__all__ = ["Wrong", "own", "pairs_of", "parser", "replay_of", "said", "servers_of", "state_of", "token_of"]

LEAST_SECONDS, MOST_SECONDS = 2.0, 30 * 86_400.0
UNDER_TEST = "server"
DEFAULT_DURATION = "2m"

DESCRIPTION = """\
Puts misbehaving clients on an HTTP server, round by round, and shows whether what it takes is given
back: memory, descriptors, threads, and the patience of an honest client meanwhile.
"""
EPILOG = """\
examples:

  hardhttp-soak --command 'python shop.py {port}' --duration 10m
      start it, attack it for ten minutes, end it; the report is soak/report.html

  hardhttp-soak --command 'twistd -n hardhttp --listen tcp:{port}:interface=127.0.0.1
                           --admin tcp:{admin}:interface=127.0.0.1 --app shop.web:root'
      hardhttp, which also tells of its ledger and its garbage collector

  hardhttp-soak --target http://127.0.0.1:8080/ --path large=/download --path upload=/form
      a server that runs already; its process is found by its port, or named with --pid

  hardhttp-soak --against hardhttp --against twisted.web --against uvicorn --duration 1h
      side by side: the first is judged, all are drawn

  hardhttp-soak --command '...' --scenario 'drip-*' --scenario stopped-reader --duration 5m
      only these; --list tells what each does

  hardhttp-soak --resume --into soak
      go on with a run that was interrupted

Only ever attack what is yours. A target that is not this machine has to be named twice:
--target http://shop.test/ --i-own shop.test

A run of two minutes shows what is left after each load; a trend takes three rounds of a scenario,
so some 20 minutes for all of them; deadlines of a minute show in runs of hours.
"""


def parser() -> argparse.ArgumentParser:
    """What can be asked for."""
    made = argparse.ArgumentParser(
        "hardhttp-soak", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    what = made.add_argument_group("the server")
    what.add_argument("--target", metavar="URL", help="a server that runs: http://HOST:PORT/PATH of an ordinary page")
    what.add_argument("--i-own", metavar="HOST", help="the target's host again, when it is not this machine")
    what.add_argument("--pid", type=int, help="the target's process, where its port does not tell")
    what.add_argument(
        "--command",
        metavar="COMMAND",
        help="start this and end it; {port} stands for its port, {admin} for that of hardhttp's admin side",
    )
    what.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="NAME[=COMMAND]",
        help=f"another server beside it; by name alone: {', '.join(PEERS)}",
    )
    what.add_argument(
        "--path",
        action="append",
        default=[],
        metavar="KIND=PATH",
        help="what a path of the server is for; scenarios that need one it has not are passed over. "
        + "; ".join(f"{kind}: {text}" for kind, text in PATHS.items()),
    )
    what.add_argument(
        "--admin",
        metavar="URL",
        help="where the admin side of --target or --command answers, if it is hardhttp: it tells of its ledger, its "
        "connections and its garbage collector, and what tracemalloc saw if PYTHONTRACEMALLOC=1 is set there",
    )
    what.add_argument("--admin-token", metavar="SOURCE", help="its token: env:NAME or file:PATH, which hold it")
    how = made.add_argument_group("the run")
    how.add_argument("--duration", help=f"of all of it, from 2s to 30d; default: {DEFAULT_DURATION}")
    how.add_argument("--each", metavar="DURATION", help="of each scenario at each server, in the place of --duration")
    how.add_argument("--rounds", type=int, help="of each scenario; default: as many as there is time for, up to 12")
    how.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="NAME",
        help="only these; * stands for any; MODULE:CLASS is one of your own",
    )
    how.add_argument("--scale", type=float, default=1.0, help="how many clients, as a factor; default: %(default)s")
    how.add_argument("--honest", type=float, default=20.0, metavar="N", help="honest requests a second (%(default)s)")
    how.add_argument("--replay", metavar="FILE", help="an access log (common or combined) for mixed-traffic")
    how.add_argument("--into", default="soak", metavar="DIRECTORY", help="samples, state, report (%(default)s)")
    how.add_argument("--resume", action="store_true", help="go on with the run in that directory")
    how.add_argument("--list", action="store_true", help="say what each scenario does, and exit")
    return made


class Wrong(Exception):
    """What was asked for cannot be done; the text says what would do."""


def paths_of(given: Sequence[str]) -> dict[str, str]:
    """``--path``'s. Raises ``Wrong``."""
    found = {}
    for text in given:
        kind, equals, path = text.partition("=")
        if not equals or kind not in PATHS or not path.startswith("/"):
            raise Wrong(f"--path {text!r} must be KIND=/PATH, where KIND is one of: {', '.join(PATHS)}")
        found[kind] = path
    return found


def servers_of(asked: argparse.Namespace, directory: Path) -> dict[str, Running | Started]:
    """The servers by name, the one under test first. Raises ``Wrong``."""
    found: dict[str, Running | Started] = {}
    paths = paths_of(asked.path)
    try:
        if asked.admin is not None:
            check_admin_url(asked.admin)
            if asked.target is None and asked.command is None:
                raise Wrong("--admin is of --target or --command; a command of --against says {admin}")
        if asked.target is not None:
            where = Where.of(asked.target, paths, asked.i_own)
            pid = asked.pid or (owner_of(where.port) if is_loopback(where.host) else None)
            found[UNDER_TEST] = Running(UNDER_TEST, where, pid, asked.admin)
        elif asked.command is not None:
            if "{port}" not in asked.command:
                raise Wrong("--command must say {port} where the port goes that it is to listen on")
            words = tuple(shlex.split(asked.command))
            found[UNDER_TEST] = Started(UNDER_TEST, words, paths, directory / "server.log", asked.admin)
        for text in asked.against:
            server = named(text, directory, paths)
            found[server.name] = server
    except (ValueError, NotOwnError) as error:
        raise Wrong(str(error)) from None
    if not found:
        raise Wrong(
            f"there is no run in {directory} to go on with"
            if asked.resume
            else "there is no server: give --target, --command or --against"
        )
    return found


def said(words: Sequence[str]) -> argparse.Namespace:
    """What ``words`` ask for. ``--resume`` that names no server asks for what the run was begun with."""
    asked = parser().parse_args(words)
    if asked.resume and not (asked.target or asked.command or asked.against):
        try:
            begun = State.load(Path(asked.into) / STATE).words
        except (OSError, ValueError):
            return asked  # what is wrong is told where the run is looked for
        asked = parser().parse_args([*begun, "--resume", "--into", asked.into])
    return asked


def own(asked: Sequence[str]) -> list[str]:
    """``--scenario``'s, after those of one's own were loaded, from the working directory too. Raises ``Wrong``."""
    if any(":" in text for text in asked) and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        return [load(text) if ":" in text else text for text in asked]
    except ValueError as error:
        raise Wrong(str(error)) from None


def state_of(
    asked: argparse.Namespace, servers: Mapping[str, Running | Started], directory: Path, words: Sequence[str]
) -> State:
    """Where the run begins: at its beginning, or where it was left. Raises ``Wrong``."""
    file = directory / STATE
    if asked.resume:
        try:
            state = State.load(file)
        except (OSError, ValueError) as error:
            raise Wrong(f"--resume: {error}") from None
        unknown = [name for name in state.plan.servers if name not in servers]
        if unknown:
            raise Wrong(f"--resume: give the servers of that run again: {', '.join(state.plan.servers)}")
        strange = [name for name in state.plan.scenarios if name not in CATALOGUE]
        if strange:
            raise Wrong(f"--resume: name the scenarios of your own again: {', '.join(strange)}")
        state.begin_again()
        return state
    try:
        chosen = tuple(kind.name for kind in choose(asked.scenario))
        seconds = seconds_of(asked, pairs := pairs_of(servers, chosen))
        if (asked.rounds is not None and asked.rounds < 1) or asked.scale <= 0 or asked.honest <= 0:
            raise Wrong("--rounds, --scale and --honest must be above 0")
        plan: Plan = make_plan(tuple(servers), chosen, seconds, asked.rounds, asked.scale, asked.honest, pairs)
    except ValueError as error:
        raise Wrong(str(error)) from None
    if file.exists() or (directory / SAMPLES).exists():
        raise Wrong(f"{directory} holds a run already: --resume it, or choose another directory with --into")
    return State(plan, words=list(words))


def pairs_of(servers: Mapping[str, Running | Started], scenarios: Sequence[str]) -> int:
    """How many scenarios will be run at all servers together: those that a server has the paths for. At least one."""
    return max(1, sum(CATALOGUE[name].needs <= set(server.paths) for server in servers.values() for name in scenarios))


def seconds_of(asked: argparse.Namespace, count: int) -> float:
    """How long all of it takes, for so many scenarios at all servers together. Raises ``ValueError``, or ``Wrong``."""
    if asked.each is None:
        given = asked.duration or DEFAULT_DURATION
        seconds = parse_seconds(given)
    else:
        if asked.duration is not None:
            raise Wrong("give --duration, of all of it, or --each, of a scenario")
        given = f"--each {asked.each}, {count} times,"
        seconds = parse_seconds(asked.each) * count
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise UnitError(f"{given} is not between 2s and 30d")
    return seconds


def replay_of(file: str | None) -> list[tuple[str, str]]:
    """The requests of an access log; none without one. Raises ``Wrong`` for one that holds none, and ``OSError``."""
    if file is None:
        return []
    with open(file, encoding="utf-8", errors="replace") as lines:
        requests = list(read_log(lines))
    if not requests:
        raise Wrong(f"--replay {file}: no line of it is one of an access log in the common or the combined format")
    return requests


def token_of(source: str | None) -> str | None:
    """What ``--admin-token`` names. The token itself is not taken: the report shows the command. Raises ``Wrong``."""
    if source is None:
        return None
    if not source.startswith(("env:", "file:")):
        raise Wrong("--admin-token must be env:NAME or file:PATH, which hold it: the report shows the command")
    try:
        token = resolved("admin-token", source)
        check_token(token)
    except (ValueError, UsageError) as error:
        raise Wrong(str(error)) from None
    return token
