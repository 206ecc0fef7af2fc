"""Names with one or more values, in the order they came: a query, a form's fields, its files.

It never changes. What is missing is a ``KeyError``, as in any mapping; one that nobody catches is
answered 400 and says which name is missing, because that is the client's mistake.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, TypeVar

from hardhttp.errors import HTTPError

__all__ = ["MissingError", "MultiDict"]

V = TypeVar("V")

# More digits than any number an application counts with.
MAX_DIGITS = 20


class MissingError(HTTPError, KeyError):
    """There is no value of that name."""

    def __init__(self, name: str) -> None:
        HTTPError.__init__(self, 400, f"{name!r} is missing")
        self.name = name

    def __str__(self) -> str:
        return self.detail


class MultiDict(Mapping[str, V], Generic[V]):
    """An immutable mapping of names to values; a name may have several.

    ``d[name]`` and ``d.get(name)`` give the first value, as ``request.args[name][0]`` does. Its
    length and iteration are those of the names, each once, in the order they came.
    """

    __slots__ = ("_pairs", "_values")

    def __init__(self, pairs: Iterable[tuple[str, V]] = ()) -> None:
        self._pairs = tuple(pairs)
        self._values: dict[str, list[V]] = {}
        for name, value in self._pairs:
            self._values.setdefault(name, []).append(value)

    def __getitem__(self, name: str) -> V:
        values = self._values.get(name)
        if values is None:
            raise MissingError(name)
        return values[0]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def __eq__(self, other: object) -> bool:
        return self._pairs == other._pairs if isinstance(other, MultiDict) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._pairs)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._pairs)} values>"  # they may be secrets

    def getlist(self, name: str) -> list[V]:
        """Every value of ``name``, in order; an empty list when there is none."""
        return list(self._values.get(name, ()))

    def pairs(self) -> tuple[tuple[str, V], ...]:
        """Every name with its value, in the order they came."""
        return self._pairs

    def get_int(self, name: str, default: int | None = None, *, low: int | None = None, high: int | None = None) -> int:
        """The value of ``name`` as a whole number in decimal digits; ``default`` when there is none.

        Raises ``HTTPError`` (400) that names what is wrong: no number, less than ``low``, more than
        ``high``, or missing without a ``default``.
        """
        text = self._values[name][0] if name in self._values else None
        if text is None:
            if default is None:
                raise MissingError(name)
            return default
        digits = text.removeprefix("-") if isinstance(text, str) else ""
        if not (digits.isascii() and digits.isdigit() and len(digits) <= MAX_DIGITS):
            raise HTTPError(400, f"{name!r} must be a whole number")
        number = int(str(text))
        if (low is not None and number < low) or (high is not None and number > high):
            bounds = [f"at least {low}"] if low is not None else []
            bounds += [f"at most {high}"] if high is not None else []
            raise HTTPError(400, f"{name!r} must be {' and '.join(bounds)}")
        return number
