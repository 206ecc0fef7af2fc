"""Values on the command line, checked with a sentence that says what would do."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Collection, Sequence

from benchmarks.peers import PEERS, Peer, missing

__all__ = ["available", "chosen", "count", "counts"]


def count(low: int, high: int) -> Callable[[str], int]:
    """A whole number from ``low`` to ``high``; commas and underscores between digits are allowed."""

    def convert(text: str) -> int:
        try:
            value = int(text.replace(",", "").replace("_", ""))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{value:,} is not from {low:,} to {high:,}")
        return value

    return convert


def counts(low: int, high: int) -> Callable[[str], list[int]]:
    """Whole numbers with commas between, in rising order."""
    one = count(low, high)

    def convert(text: str) -> list[int]:
        return sorted({one(word) for word in text.split(",")})

    return convert


def chosen(names: Collection[str]) -> Callable[[str], list[str]]:
    """Some of ``names`` with commas between, in the order given; ``all`` for each of them."""

    def convert(text: str) -> list[str]:
        words = list(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))
        if words == ["all"]:
            return list(names)
        unknown = [word for word in words if word not in names]
        if unknown or not words:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown) or repr(text)}: there are only {', '.join(names)}")
        return words

    return convert


def available(names: Sequence[str]) -> tuple[list[Peer], dict[str, str]]:
    """Those that can take part, and for the others why not."""
    reasons = {name: missing(PEERS[name]) for name in names}
    present = [PEERS[name] for name, reason in reasons.items() if reason is None]
    return present, {name: reason for name, reason in reasons.items() if reason is not None}
