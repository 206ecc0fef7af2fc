"""Every scenario there is, by name and in the order of a run: the quiet ones first, one's own last."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from fnmatch import fnmatchcase

from hardhttp.soak.scenario import Scenario
from hardhttp.soak.scenarios import crowds, drips, http2, leaving, messages, readers, streams, visitors, websockets

__all__ = ["CATALOGUE", "choose", "load"]

CATALOGUE: dict[str, type[Scenario]] = {
    kind.name: kind
    for kind in (
        visitors.MixedTraffic,
        crowds.Churn,
        crowds.OwnAnswers,
        drips.Silent,
        drips.Zombie,
        drips.Idle,
        drips.DripHead,
        drips.DripBody,
        drips.DripChunks,
        leaving.VanishAtOnce,
        leaving.VanishInHead,
        leaving.VanishInBody,
        leaving.VanishInHandling,
        leaving.VanishInResponse,
        leaving.HalfClose,
        messages.BlankLines,
        messages.BadHeads,
        messages.LongHeads,
        messages.ChunkedOddities,
        messages.OversizedLength,
        messages.OversizedChunks,
        messages.PipelineFlood,
        messages.PipelineVanish,
        messages.UniqueNames,
        visitors.LateAnswers,
        visitors.Lookers,
        visitors.SessionMakers,
        visitors.BrokenForms,
        visitors.LargeUploads,
        readers.SlowReader,
        readers.SlowUploader,
        readers.StoppedReader,
        readers.StoppedReaderClosing,
        readers.PipelinedReader,
        crowds.Ranges,
        streams.Subscriber,
        streams.SubscriberVanishes,
        streams.SubscriberRefused,
        streams.SubscriberStops,
        streams.ReconnectStorm,
        websockets.BadHandshakes,
        websockets.SocketVanishes,
        websockets.SilentSocket,
        websockets.EndlessFragments,
        http2.RapidReset,
        http2.MadeYouReset,
        http2.SettingsFlood,
        http2.PingFlood,
        http2.EmptyDataFlood,
        http2.ContinuationFlood,
        http2.StalledStreams,
        http2.WindowGames,
        crowds.Crowd,
        crowds.Descriptors,
    )
}


def choose(patterns: Iterable[str]) -> list[type[Scenario]]:
    """The scenarios whose names match any of ``patterns`` (``drip-*``), in the catalogue's order; all, without any.

    Raises ``ValueError`` for a pattern that matches none.
    """
    wanted = list(patterns)
    for pattern in wanted:
        if not any(fnmatchcase(name, pattern) for name in CATALOGUE):
            raise ValueError(f"no scenario is called {pattern!r}; there are: {', '.join(CATALOGUE)}")
    return [kind for name, kind in CATALOGUE.items() if not wanted or any(fnmatchcase(name, p) for p in wanted)]


def load(text: str) -> str:
    """Take ``MODULE:CLASS``, a scenario of one's own, into the catalogue; its name. Raises ``ValueError``."""
    module, _, name = text.partition(":")
    try:
        kind = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--scenario {text}: {error}") from None
    if not (isinstance(kind, type) and issubclass(kind, Scenario) and isinstance(getattr(kind, "name", None), str)):
        raise ValueError(f"--scenario {text}: it is no subclass of hardhttp.soak.scenario.Scenario with a name")
    if CATALOGUE.setdefault(kind.name, kind) is not kind:
        raise ValueError(f"--scenario {text}: there is another scenario that is called {kind.name}")
    return kind.name
