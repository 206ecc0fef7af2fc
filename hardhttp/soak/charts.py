"""Charts of HTML and inline SVG that need no script: they stretch with the page, and print as they are shown.

The shapes are SVG that is stretched to its box; all text stands beside it as HTML, placed in per cent, so that it
keeps its size on a telephone. A chart is one picture to a screen reader, with one sentence as its text; the figures
follow as a table, which is the caller's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from html import escape

import attrs

from hardhttp.soak.wording import seconds_text

__all__ = ["Band", "Curve", "Scale", "bytes_scale", "chart", "count_scale", "log_scale"]

Point = tuple[float, float]
# Two numbers that are nearer to each other cannot be told apart.
NUMBERED_SHARE = 0.03


@attrs.frozen
class Scale:
    """``place`` turns a figure into its height, 0 to 1; ``ticks`` are drawn and written."""

    place: Callable[[float], float]
    ticks: Sequence[tuple[float, str]]


@attrs.frozen
class Curve:
    pieces: Sequence[Sequence[Point]]  # between two of them there was no figure
    style: str  # a class of report.css: "first" or "second"
    filled: bool = False


@attrs.frozen
class Band:
    """A scenario: from, to (seconds), its number in the table, how it is coloured, and what is said of it.

    ``flawed``: its verdict is not PASS.
    """

    begin: float
    end: float
    number: int
    style: str
    title: str
    flawed: bool


def bytes_scale(most: float) -> Scale:
    """From 0, in MiB or GiB."""
    unit, name = (1 << 30, "GiB") if most >= 2 << 30 else (1 << 20, "MiB")
    return _linear(most / unit, unit, name)


def count_scale(most: float) -> Scale:
    return _linear(most, 1, "")


def log_scale(most: float, least: float, text: Callable[[float], str]) -> Scale:
    """From the power of ten below ``least`` to the one above ``most``."""
    low = math.floor(math.log10(max(least, 1e-3)))
    high = max(low + 1, math.ceil(math.log10(max(most, 1e-3))))

    def place(value: float) -> float:
        return min(1.0, max(0.0, (math.log10(max(value, 1e-9)) - low) / (high - low)))

    return Scale(place, [(place(10.0**power), text(10.0**power)) for power in range(low, high + 1)])


def _linear(most: float, unit: int, name: str) -> Scale:
    step = _step(most / 4)
    top = max(step * math.ceil(most / step), step)
    ticks = [(number * step / top, f"{number * step:,.10g} {name}".strip()) for number in range(round(top / step) + 1)]
    return Scale(lambda value: value / unit / top, ticks)


def _step(rough: float) -> float:
    """The next of 1, 2, 5, 10, 20..."""
    if rough <= 1:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next(power * times for times in (1, 2, 5, 10) if power * times >= rough * 0.999)


def chart(
    curves: Sequence[Curve],
    scale: Scale,
    seconds: float,
    bands: Sequence[Band],
    loads: Sequence[tuple[float, float]],
    text: str,
) -> str:
    """One chart over ``seconds``. ``text`` is what it shows, for those who do not see it."""
    across = 1000 / (seconds or 1.0)
    shapes = [
        f'<rect class="{band.style}" x="{band.begin * across:.1f}" width="{(band.end - band.begin) * across:.1f}" '
        f'y="0" height="1000"><title>{escape(band.title)}</title></rect>'
        for band in bands
    ]
    shapes += [f'<path class="grid" d="M0 {_height(at):.0f}H1000"/>' for at, _ in scale.ticks]
    for curve in curves:
        for piece in curve.pieces:
            places = [f"{x * across:.1f} {_height(scale.place(y)):.1f}" for x, y in piece]
            if curve.filled:
                first, last = piece[0][0] * across, piece[-1][0] * across
                shape = f"M{first:.1f} 1000L{' '.join(places)}L{last:.1f} 1000Z"
                shapes.append(f'<path class="area {curve.style}" d="{shape}"/>')
            # h0: a piece of one point is a dot.
            shapes.append(f'<path class="curve {curve.style}" d="M{" ".join(places)}h0"/>')
    strip = "".join(
        f'<rect x="{begin * across:.1f}" width="{max(2.0, (end - begin) * across):.1f}" y="0" height="10"/>'
        for begin, end in loads
    )
    return (
        '<div class="chart">'
        f'<div class="marks" aria-hidden="true">{_marks(bands, seconds)}</div>'
        f'<div class="heights" aria-hidden="true">{_heights(scale)}</div>'
        f'<svg class="plot" role="img" aria-label="{escape(text)}" viewBox="0 0 1000 1000" preserveAspectRatio="none">'
        f"{''.join(shapes)}</svg>"
        '<svg class="strip" aria-hidden="true" viewBox="0 0 1000 10" preserveAspectRatio="none">'
        f"{strip}</svg>"
        f'<div class="times" aria-hidden="true">{_times(seconds)}</div>'
        "</div>"
    )


def _height(share: float) -> float:
    return 1000 * (1 - min(1.0, max(0.0, share)))


def _marks(bands: Sequence[Band], seconds: float) -> str:
    """The bands' numbers: as many as there is room for, first those of bands that are coloured."""
    placed: list[float] = []
    marks = []
    for band in sorted(bands, key=lambda band: not band.flawed):
        place = (band.begin + band.end) / 2 / (seconds or 1.0)
        if all(abs(place - other) >= NUMBERED_SHARE for other in placed):
            placed.append(place)
            marks.append((place, f'<span class="{band.style}" style="left:{place:.2%}">{band.number}</span>'))
    return "".join(mark for _, mark in sorted(marks))


def _heights(scale: Scale) -> str:
    return "".join(f'<span style="bottom:{at:.2%}">{escape(text)}</span>' for at, text in scale.ticks)


def _times(seconds: float) -> str:
    return "".join(f'<span style="left:{share:.0%}">{seconds_text(seconds * share)}</span>' for share in (0, 0.5, 1))
