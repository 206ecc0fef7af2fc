"""What ``--workers`` and its kin say, what cannot work with them, and what of the limits is one worker's share."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python import usage

from hardhttp.errors import LimitError
from hardhttp.limits import Limits
from hardhttp.ops.workerlink import Place
from hardhttp.tap.optiontable import OPTIONS
from hardhttp.units import UnitError, format_size, parse_count, parse_seconds, parse_size

if TYPE_CHECKING:
    from hardhttp.tap.options import Options

__all__ = ["MAX_WORKERS", "WorkerSettings", "share_of", "worker_place", "worker_settings"]

MAX_WORKERS = 256
MIN_RSS_BYTES = 16 << 20
MAX_STUCK_SECONDS = 3600
# What all workers together are to keep to; each has its share of it.
SHARED = ("max_connections", "max_buffered_bytes")


@attrs.frozen
class WorkerSettings:
    """``None`` is never."""

    count: int
    max_rss_bytes: int | None = None
    stuck_seconds: int | None = 30


def worker_place() -> Place | None:
    """Whether this process is a worker, and which."""
    try:
        return Place.from_environment(os.environ)
    except ValueError as error:
        raise usage.UsageError(str(error)) from None


def worker_settings(options: Options) -> WorkerSettings | None:
    """What ``--workers`` and its kin say; ``None`` without. Raises ``usage.UsageError``."""
    text = options["workers"]
    if text is None:
        for name in ("worker-max-rss", "worker-stuck-seconds"):
            if options[name] != OPTIONS[name].default:
                raise usage.UsageError(f"--{name} is for worker processes, which --workers begins")
        return None
    settings = WorkerSettings(_count(text), _max_rss(options), _stuck(options))
    _check_history(options)
    if settings.count > 1:
        _check_shared(options)
    twistd = options.parent
    if twistd is not None and twistd.get("chroot"):
        raise usage.UsageError("--workers begins processes by the command line, which is not there below --chroot")
    return settings


def _count(text: str) -> int:
    if text == "auto":
        return min(
            MAX_WORKERS, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        )
    try:
        count = parse_count(text)
        if not 1 <= count <= MAX_WORKERS:
            raise UnitError(f"{count:,} is out of bounds")
    except UnitError as error:
        raise usage.UsageError(f"--workers: {error}; it must be from 1 to {MAX_WORKERS}, or auto") from None
    return count


def _max_rss(options: Mapping[str, Any]) -> int | None:
    text = options["worker-max-rss"]
    if text == "none":
        return None
    try:
        size = parse_size(text)
        if size < MIN_RSS_BYTES:
            raise UnitError(f"{text} is too little for any")
    except UnitError as error:
        least = format_size(MIN_RSS_BYTES)
        raise usage.UsageError(f"--worker-max-rss: {error}; it must be at least {least}, or none") from None
    return size


def _stuck(options: Mapping[str, Any]) -> int | None:
    text = options["worker-stuck-seconds"]
    if text == "none":
        return None
    try:
        seconds = parse_seconds(text)
        if not 2 <= seconds <= MAX_STUCK_SECONDS:
            raise UnitError(f"{text} is out of bounds")
    except UnitError as error:
        raise usage.UsageError(
            f"--worker-stuck-seconds: {error}; it must be from 2 seconds to one hour, or none"
        ) from None
    return math.ceil(seconds)


def _has_hub(options: Mapping[str, Any]) -> bool:
    return options["mercure-publisher-key"] is not None or options["mercure-subscriber-key"] is not None


def _check_history(options: Mapping[str, Any]) -> None:
    """The file is one process's, and a worker is replaced while it is still there."""
    if _has_hub(options) and options["history"] != "memory:":
        raise usage.UsageError(
            f"--workers {options['workers']}: --history {options['history']} is one process's, and two would have it; "
            "give --broker redis://HOST in its place, which keeps the history for all"
        )


def _check_shared(options: Mapping[str, Any]) -> None:
    """What several processes cannot do without sharing it."""
    if options["app"] is not None and options["session-store"] == "memory:":
        raise usage.UsageError(
            f"--workers {options['workers']} with --app: --session-store memory: is in one process, and the next "
            "request of a session may come to another; give --session-store sqlite:PATH, or redis://HOST"
        )
    if _has_hub(options) and (options["broker"] is None or options["broker"].startswith("memory:")):
        raise usage.UsageError(
            f"--workers {options['workers']} with the hub: an event would reach the subscribers of one process alone; "
            "give --broker redis://HOST"
        )


def share_of(limits: Limits, count: int) -> Limits:
    """What one of ``count`` workers keeps to. Raises ``usage.UsageError`` when that is too little for any."""
    shares = {name: -(-getattr(limits, name) // count) for name in SHARED}
    try:
        return attrs.evolve(limits, **shares)
    except LimitError as error:
        name = error.name.replace("_", "-")
        raise usage.UsageError(f"--{name} is too little for {count} workers, which share it: {error}") from None
