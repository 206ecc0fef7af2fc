"""Figures as people read them: three digits and a unit. For exact values there is ``hardhttp.units``."""

from __future__ import annotations

__all__ = ["bytes_text", "count_text", "milliseconds_text", "seconds_text", "share_text"]


def _digits(value: float) -> str:
    """Two digits behind the point below 10, one below 100, none above."""
    size = abs(value)
    text = f"{value:.2f}" if size < 9.995 else f"{value:.1f}" if size < 99.95 else f"{value:,.0f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def bytes_text(value: float) -> str:
    """``1.5 MiB``, ``-300 KiB``, ``12 B``."""
    for power, unit in ((3, "GiB"), (2, "MiB"), (1, "KiB")):
        if abs(value) >= 999.5 * 1024 ** (power - 1):
            return f"{_digits(value / 1024**power)} {unit}"
    return f"{value:.0f} B"


def milliseconds_text(value: float) -> str:
    """``0.25 ms``, ``1.2 s``."""
    return f"{_digits(value)} ms" if abs(value) < 999.5 else f"{_digits(value / 1000)} s"


def seconds_text(value: float) -> str:
    """A time since the beginning: ``45 s``, ``2:05 min``, ``3:00 h``, ``2 d 4 h``."""
    whole = round(value)
    if whole < 60:
        return f"{_digits(value)} s"
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d} min"
    if whole < 86_400:
        return f"{whole // 3600}:{whole % 3600 // 60:02d} h"
    return f"{whole // 86_400} d {whole % 86_400 // 3600} h"


def share_text(value: float) -> str:
    """``0.5 %`` of 0.005."""
    return f"{_digits(value * 100)} %"


def count_text(value: float) -> str:
    return f"{value:,.0f}"
