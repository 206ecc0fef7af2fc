"""The run: servers one after the other, scenarios one after the other, round by round, and somebody watching.

For each server the runner owns three things and ends them all: the server, where it was started
here; the honest client; and the load of the moment. A sample is taken at an even pace through it
all, from a thread, and written at once. What goes wrong with one server is noted, and the next one
is begun; what goes wrong with the runner itself ends the run, with everything ended and the state
saved, so that it can be gone on with.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from hardhttp.soak.catalogue import CATALOGUE
from hardhttp.soak.honest import HonestClient
from hardhttp.soak.load import Load
from hardhttp.soak.plan import Plan, State, Step
from hardhttp.soak.probes import Figures, Probe, ProbeError, ProcessGone
from hardhttp.soak.samples import Sample, SampleFile
from hardhttp.soak.scenario import Scenario
from hardhttp.soak.scenarios.http2 import is_http2
from hardhttp.soak.scenarios.visitors import MixedTraffic
from hardhttp.soak.target import Running, Started, TargetError

__all__ = ["SAMPLES", "STATE", "Now", "Runner", "Watcher"]

SAMPLES, STATE = "samples.csv", "state.json"
# A server's first requests import, compile and fill caches; that is not what a baseline is for.
WARM_SECONDS = 1.0
# For the honest client to have its first answer.
START_SECONDS, LOOK_SECONDS = 15.0, 0.1
BASELINE, LOAD, REST = "baseline", "load", "rest"


@attrs.frozen
class Now:
    """What is going on: for whoever watches."""

    step: Step
    phase: str
    outcomes: Mapping[str, int]
    open_count: int


class Watcher(Protocol):
    """Somebody who is told how it goes."""

    def sampled(self, now: Now, sample: Sample) -> None: ...
    def said(self, text: str) -> None: ...


class Runner:
    """Runs what is left of ``state.plan`` and leaves the samples and the state in ``directory``.

    ``admin_token``: what the admin side of the first server asks for, where it asks. ``replayed``: methods and targets
    for ``mixed-traffic``, in the place of its own.
    """

    def __init__(
        self,
        reactor: Any,
        state: State,
        servers: Mapping[str, Running | Started],
        directory: Path,
        watcher: Watcher,
        admin_token: str | None = None,
        replayed: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._replayed = replayed
        self._reactor, self._state, self._servers = reactor, state, servers
        self._directory, self._watcher, self._admin_token = directory, watcher, admin_token
        self._file: SampleFile | None = None
        self._honest: HonestClient | None = None
        self._probe: Probe | None = None
        self._load: Load | None = None
        self._server: Running | Started | None = None
        self._step = Step("", "", 1)
        self._phase = BASELINE
        self._lost: str | None = None
        self._failure: Failure | None = None
        self._trouble: str | None = None
        self._seen: tuple[Step, str] | None = None  # what the last sample is of
        self._began = 0.0
        self._stopped = False

    @property
    def plan(self) -> Plan:
        return self._state.plan

    # -- the whole -------------------------------------------------------------------------

    async def run(self) -> None:
        """All of it. Everything is ended when this is done, however it is done."""
        now = self._reactor.seconds()
        self._began = now - self._state.seconds
        if self._state.began_epoch_seconds is None:
            self._state.began_epoch_seconds = now
        with SampleFile(self._directory / SAMPLES) as self._file:
            for name in self.plan.servers:
                if self._stopped or name in self._state.problems:
                    continue
                left = [step for step in self.plan.steps(name) if step not in self._state.done]
                if left:
                    await self._serve(self._servers[name], left)
        if self._state.problems.keys() >= set(self.plan.servers) and not self._state.results:
            # No server answered: there is no run to go on with, and none that the next one could write over.
            for name in (SAMPLES, STATE):
                (self._directory / name).unlink(missing_ok=True)

    def stop(self) -> None:
        """End the load of the moment, and everything else as soon as may be. What was done is kept."""
        self._stopped = True
        if self._load is not None:
            self._load.end()

    async def _serve(self, server: Running | Started, steps: list[Step]) -> None:
        self._server, self._lost, self._trouble = server, None, None
        self._watcher.said(f"{server.name}: starting")
        try:
            await server.start(self._sleep)
            if server.pid is None:
                raise TargetError(f"{server.name}: its process is not known; name it with --pid")
            token = self._admin_token if server.name == self.plan.servers[0] else None
            self._probe = Probe(server.pid, server.admin_url, admin_token=token)
            self._honest = HonestClient(self._reactor, server.where, self.plan.honest_per_second)
            await self._warm(server)
            await self._steps(server, steps)
        except (TargetError, ProbeError) as error:
            self._state.problems[server.name] = str(error)
            name = f"{server.name}: "
            self._watcher.said(name + str(error).removeprefix(name))
        finally:
            if self._honest is not None:
                self._honest.close()
            self._honest = self._probe = self._server = None
            await server.end(self._sleep)
            self._save()

    async def _warm(self, server: Running | Started) -> None:
        self._load = Load(self._reactor, server.where, WARM_SECONDS, scale=0.2)
        try:
            await self._load.run(MixedTraffic())
        finally:
            self._load = None
        for _ in range(int(START_SECONDS / LOOK_SECONDS)):
            suffered = self._take_honest()
            if suffered.requests > suffered.failures or self._stopped:
                return
            self._check()
            await self._sleep(LOOK_SECONDS)
        raise TargetError(f"{server.name}: an honest client is not answered")

    async def _steps(self, server: Running | Started, steps: list[Step]) -> None:
        speaks = {kind for kind in ("http2",) if await self._speaks(server)}
        sampling = LoopingCall(self._sample)
        sampling.clock = self._reactor
        self._step, self._phase = steps[0], BASELINE
        done = sampling.start(self.plan.sample_seconds, now=False).addErrback(self._cannot_sample)
        try:
            for step in steps:
                if self._stopped:
                    return
                skipped = self._skips(CATALOGUE[step.scenario], server, speaks)
                if skipped is None:
                    await self._round(server, step)
                self._state.result(step).skipped = skipped
                if not self._stopped:
                    self._state.done.add(step)
                self._save()
        finally:
            if sampling.running:
                sampling.stop()
            await done

    async def _speaks(self, server: Running | Started) -> bool:
        load = Load(self._reactor, server.where, 2.0)
        found: list[bool] = []

        class Ask(Scenario):
            async def run(self, load: Load) -> None:
                found.append(await is_http2(load))
                load.end()

        await load.run(Ask())
        return found == [True]

    @staticmethod
    def _skips(kind: type[Scenario], server: Running | Started, speaks: set[str]) -> str | None:
        """Why a scenario cannot be run on a server."""
        absent = sorted(kind.needs - set(server.where.paths))
        if absent:
            return "it has no path for: " + ", ".join(absent)
        if kind.speaks is not None and kind.speaks not in speaks:
            return "it does not speak HTTP/2"
        return None

    # -- one round -------------------------------------------------------------------------

    async def _round(self, server: Running | Started, step: Step) -> None:
        self._step = step
        await self._rest(BASELINE, self.plan.baseline_seconds)
        if self._stopped:
            return
        load = Load(self._reactor, server.where, self.plan.load_seconds, scale=self.plan.scale, pid=server.pid)
        self._load, self._phase = load, LOAD
        try:
            await load.run(self._made(step.scenario))
        finally:
            self._load = None
        self._state.result(step).add(dict(load.outcomes), load.held_seconds)
        await self._rest(REST, self.plan.rest_seconds)

    def _made(self, name: str) -> Scenario:
        if name == MixedTraffic.name and self._replayed:
            return MixedTraffic(self._replayed)
        return CATALOGUE[name]()

    async def _rest(self, phase: str, seconds: float) -> None:
        self._phase = phase
        until = self._reactor.seconds() + seconds
        while not self._stopped and (left := until - self._reactor.seconds()) > 0:
            await self._sleep(min(left, self.plan.sample_seconds))
            self._check()
        if not self._stopped and self._seen != (self._step, phase):
            await self._take()  # a short phase on a busy machine would be over without a look, and give no verdict
        self._check()

    def _check(self) -> None:
        if self._server is not None:
            self._server.check()
        if self._failure is not None:
            self._failure.raiseException()
        if self._lost is not None:
            raise TargetError(f"{self._step.server}: {self._lost}")

    def _cannot_sample(self, failure: Failure) -> None:
        """A disk that is full, say: without samples there is no run."""
        self._failure = failure
        if self._load is not None:
            self._load.end()

    # -- samples ---------------------------------------------------------------------------

    def _sample(self) -> Deferred[None]:
        return Deferred.fromCoroutine(self._take())

    async def _take(self) -> None:
        probe, step, phase = self._probe, self._step, self._phase
        if probe is None:
            return
        try:
            figures: Figures = await deferToThread(probe.look)
        except ProcessGone as error:
            self._lost = str(error)
            if self._load is not None:
                self._load.end()
            return
        except ProbeError as error:
            self._lost = str(error)
            return
        if (step, phase) != (self._step, self._phase):
            return  # it fell between two phases, and belongs to neither
        if probe.admin_trouble is not None and self._trouble is None:  # said once: it may be because of the load
            self._trouble = probe.admin_trouble
            self._watcher.said(f"{step.server}: its admin side does not tell all: {self._trouble}")
        sample = self._write(step, phase, figures)
        load = self._load
        open_count = 0 if load is None else load.open_count
        self._watcher.sampled(Now(step, phase, {} if load is None else load.outcomes, open_count), sample)

    def _write(self, step: Step, phase: str, figures: Figures) -> Sample:
        suffered = self._take_honest()
        sample = Sample(
            seconds=round(self._reactor.seconds() - self._began, 3),
            server=step.server,
            scenario=step.scenario,
            round=step.round,
            phase=phase,
            honest_p50_ms=suffered.p50_ms,
            honest_p99_ms=suffered.p99_ms,
            honest_requests=suffered.requests,
            honest_failures=suffered.failures,
            **attrs.asdict(figures),
        )
        if self._file is not None:
            self._file.write(sample)
        self._seen = (step, phase)
        return sample

    def _take_honest(self) -> Any:
        assert self._honest is not None
        if self._honest.ended is not None:
            self._lost = f"the honest client has ended: {self._honest.ended}"
        return self._honest.take()

    # -- small things ----------------------------------------------------------------------

    def _sleep(self, seconds: float) -> Deferred[None]:
        return deferLater(self._reactor, seconds)

    def _save(self) -> None:
        self._state.seconds = self._reactor.seconds() - self._began
        self._state.save(self._directory / STATE)
