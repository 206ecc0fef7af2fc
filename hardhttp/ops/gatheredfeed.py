"""The dashboard's figures of all workers: once, and for as long as somebody watches."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.web.resource import Resource

from hardhttp.ops.dashboard import FIGURES_SECONDS, Stream
from hardhttp.ops.gathering import Gathering, combined
from hardhttp.ops.workersview import workers_view

__all__ = ["GatheredFeed", "figures_of"]


async def figures_of(gathering: Gathering, clock: IReactorTime) -> dict[str, Any] | None:
    """What the dashboard shows; ``None`` while nobody has any."""
    gathered = await gathering.ask_all("GET", "/figures")
    if not gathered.good:
        return None
    workers = gathering.workers
    found = combined(gathered, clock.seconds(), clock.seconds() - workers.begun_at)
    said = workers_view(workers, clock.seconds())
    return {**found, "workers": said["workers"], "wanted_workers": said["wanted"], "worker_ends": said["ends"]}


class GatheredFeed(Resource):
    """Publishes figures of all on ``stream``, once a second, for as long as somebody is subscribed."""

    isLeaf = True
    _log = Logger(namespace="hardhttp")

    def __init__(self, gathering: Gathering, stream: Stream, clock: IReactorTime) -> None:
        super().__init__()
        self._gathering, self._stream, self._clock = gathering, stream, clock
        self._turn: IDelayedCall | None = None
        self._asking = False

    def render(self, request: Any) -> Any:
        answer = self._stream.render(request)
        if self._stream.subscriber_count:
            request.notifyFinish().addBoth(self._left)
            if self._turn is None and not self._asking:
                self._turn = self._clock.callLater(0, self._ask)
        return answer

    def _left(self, _: object) -> None:
        turn = self._turn
        if not self._stream.subscriber_count and turn is not None:
            self._turn = None
            turn.cancel()

    def _ask(self) -> None:
        self._turn, self._asking = None, True
        asked = Deferred.fromCoroutine(figures_of(self._gathering, self._clock))
        asked.addCallback(self._publish).addErrback(self._failed).addBoth(self._again)

    def _publish(self, figures: dict[str, Any] | None) -> None:
        if figures is not None:
            self._stream.publish(figures)

    def _failed(self, failure: Any) -> None:
        self._log.failure("the dashboard's figures could not be gathered", failure)

    def _again(self, _: object) -> None:
        self._asking = False
        if self._stream.subscriber_count:
            self._turn = self._clock.callLater(FIGURES_SECONDS, self._ask)
