"""What a route's pattern says: ``/users/{id:int}/files/{rest:path}``, and the path it stands for.

A pattern is made of segments, and so is a path; a segment of a pattern is a text, or a parameter:

    {name}          one segment, not empty, as text
    {name:int}      one segment of at most 18 decimal digits, as an int
    {name:uuid}     one segment that is a UUID in its usual form, as a ``uuid.UUID``
    {rest:path}     all segments that are left, at least one, as text with slashes; always the last
    {name?}         may be missing, and with it all that follows, which must be optional too

Texts are compared with what a segment says once it is decoded, so ``%2F`` is a character of its
segment and never ends it. What is not UTF-8 is no text, and ``.`` and ``..`` are no parameter's
value: a client resolves them before it asks (RFC 3986, 5.2.4), so whoever sends them means harm.

A pattern knows nothing of handlers and requests, and holds nothing that changes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID

import attrs

__all__ = ["CONVERTERS", "Converter", "Parameter", "Pattern", "RouteError", "parse_pattern", "quote_segment"]

# More is no address a person thought of; it also bounds how deep a search goes.
MAX_SEGMENTS: Final = 32
# Below 2**63, which is what databases keep in a column.
MAX_INT_DIGITS: Final = 18
# RFC 3986, 3.3: what stands in a segment as itself, beside letters, digits and "-._~".
_PCHAR: Final = "!$&'()*+,;=:@"
_DOTS: Final = frozenset({b".", b".."})
_PARAMETER: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([A-Za-z_][A-Za-z0-9_]*))?(\?)?\}")
_UUID: Final = re.compile(rb"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


class RouteError(ValueError):
    """A route cannot be: its pattern is no pattern, it is there already, or its handler does not fit."""


def quote_segment(text: str | bytes) -> str:
    """``text`` as one segment of a URL's path."""
    return quote(text, safe=_PCHAR)


@attrs.frozen
class Converter:
    """What a parameter may be.

    ``parse`` makes a value of a segment's text and raises ``ValueError`` for a text that is none;
    ``format`` makes the text of a value, for ``url_for``. Several parameters at one place are tried
    in the order of ``rank``: an application's own come after ``int`` (0) and ``uuid`` (1), before
    ``str`` (3). Two of one rank at one place are ambiguous.
    """

    name: str
    parse: Callable[[str], Any]
    format: Callable[[Any], str] = str
    rank: float = 2

    def convert(self, segment: bytes) -> Any:
        """The value of a decoded segment, or ``None`` when it is none."""
        text = _text(segment)
        if text is None:
            return None
        try:
            return self.parse(text)
        except ValueError:
            return None


def _text(segment: bytes) -> str | None:
    if not segment or segment in _DOTS:
        return None
    try:
        return segment.decode("utf-8")
    except UnicodeDecodeError:
        return None


class _Text(Converter):
    def convert(self, segment: bytes) -> str | None:
        return _text(segment)


class _Int(Converter):
    def convert(self, segment: bytes) -> int | None:
        # bytes.isdigit knows the ASCII digits alone.
        return int(segment) if len(segment) <= MAX_INT_DIGITS and segment.isdigit() else None


class _UUIDs(Converter):
    def convert(self, segment: bytes) -> UUID | None:
        return UUID(segment.decode("ascii")) if _UUID.fullmatch(segment) is not None else None


class _Path(Converter):
    def convert_rest(self, segments: Sequence[bytes]) -> str | None:
        """The text of all of ``segments``; ``None`` where one of them holds a slash of its own."""
        path = b"/".join(segments)
        if path.count(b"/") != len(segments) - 1 or not _DOTS.isdisjoint(segments):
            return None
        try:
            return path.decode("utf-8")
        except UnicodeDecodeError:
            return None


CONVERTERS: Final[Mapping[str, Converter]] = {
    "int": _Int("int", int, str, 0),
    "uuid": _UUIDs("uuid", UUID, str, 1),
    "str": _Text("str", str, str, 3),
    "path": _Path("path", str, str, 4),
}


@attrs.frozen
class Parameter:
    """A segment that stands for a value."""

    name: str
    converter: Converter
    optional: bool = False

    @property
    def takes_rest(self) -> bool:
        """Whether it takes all segments that are left."""
        return isinstance(self.converter, _Path)

    def path_of(self, value: Any) -> str:
        """``value`` as it stands in a URL. Raises ``ValueError`` for one that would not be matched again."""
        text = self.converter.format(value)
        try:
            segments = [segment.encode("utf-8") for segment in (text.split("/") if self.takes_rest else (text,))]
        except UnicodeEncodeError:
            segments = [b""]
        again = self._converted(segments)
        if again is None:
            raise ValueError(f"{self.name} is {value!r}, which is no {self.converter.name} of a path")
        return "/".join(map(quote_segment, segments))

    def _converted(self, segments: Sequence[bytes]) -> Any:
        if isinstance(self.converter, _Path):
            return self.converter.convert_rest(segments)
        return self.converter.convert(segments[0])


@attrs.frozen
class Pattern:
    """A pattern, read. ``text`` is as it was written; a segment is the bytes of a text, or a parameter."""

    text: str
    segments: tuple[bytes | Parameter, ...]

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return tuple(segment for segment in self.segments if isinstance(segment, Parameter))

    def variants(self) -> Iterator[tuple[bytes | Parameter, ...]]:
        """The segments with every number of optional parameters, all of them first."""
        required = sum(1 for s in self.segments if not (isinstance(s, Parameter) and s.optional))
        for length in range(len(self.segments), required - 1, -1):
            yield self.segments[:length]

    def joined(self, other: Pattern) -> Pattern:
        """This pattern as a prefix of ``other``. Raises ``RouteError`` where the whole is none."""
        text = (self.text if self.text != "/" else "") + other.text
        segments = (self.segments if self.text != "/" else ()) + other.segments
        _check(text, segments)
        return Pattern(text, segments)

    def format(self, params: Mapping[str, Any]) -> str:
        """The path that gives ``params``, percent-encoded.

        Raises ``ValueError`` naming what is missing, what there is no place for, or a value that has
        no such path.
        """
        parts = [""]
        left = dict(params)
        for segment in self.segments:
            if isinstance(segment, bytes):
                parts.append(quote_segment(segment))
                continue
            value = left.pop(segment.name, None)
            if value is None:
                if not segment.optional:
                    raise ValueError(f"{self.text} needs {segment.name}")
                break
            parts.append(segment.path_of(value))
        given = sorted(name for name, value in left.items() if value is not None)
        if given:
            missing = [p.name for p in self.parameters if p.optional and p.name not in params]
            because = f" without {missing[0]}" if missing and {*given} <= {p.name for p in self.parameters} else ""
            raise ValueError(f"{self.text} has no place for {', '.join(given)}{because}")
        path = "/".join(parts)
        if path.startswith("//"):  # a client would take what follows for a host (RFC 3986, 4.2)
            raise ValueError(f"{self.text} would begin with two slashes")
        return path


def parse_pattern(text: str, converters: Mapping[str, Converter] = CONVERTERS, *, prefix: bool = False) -> Pattern:
    """Read a pattern: empty, or beginning with a slash. ``prefix``: other patterns will follow it.

    Raises ``RouteError`` saying what is wrong and where.
    """
    if not isinstance(text, str):
        raise RouteError(f"a pattern is text such as '/items', not a {type(text).__name__}")
    if text and not text.startswith("/"):
        raise RouteError(f"the pattern {text!r} does not begin with a slash")
    if prefix and text == "/":
        text = ""
    if prefix and text.endswith("/"):
        raise RouteError(f"the prefix {text!r} ends with a slash; what follows brings its own")
    segments = tuple(_segment(text, part, converters) for part in text.split("/")[1:])
    _check(text, segments)
    if prefix and any(isinstance(s, Parameter) and (s.optional or s.takes_rest) for s in segments):
        raise RouteError(f"the prefix {text!r} has an optional parameter or a path, which nothing may follow")
    return Pattern(text, segments)


def _segment(text: str, part: str, converters: Mapping[str, Converter]) -> bytes | Parameter:
    match = _PARAMETER.fullmatch(part)
    if match is None:
        if "{" in part or "}" in part:
            raise RouteError(f"the pattern {text!r}: {part!r} is no parameter; one fills its segment, as {{name:int}}")
        if part in (".", ".."):
            raise RouteError(f"the pattern {text!r}: no client asks for {part!r}")
        return part.encode("utf-8")
    name, kind, optional = match.groups()
    converter = converters.get(kind or "str")
    if converter is None:
        raise RouteError(f"the pattern {text!r}: there is no converter {kind!r}, only {', '.join(sorted(converters))}")
    return Parameter(name, converter, optional is not None)


def _check(text: str, segments: Sequence[bytes | Parameter]) -> None:
    if len(segments) > MAX_SEGMENTS:
        raise RouteError(f"the pattern {text!r} has {len(segments)} segments; at most {MAX_SEGMENTS} are allowed")
    seen: set[str] = set()
    before: Parameter | None = None
    for segment in segments:
        if before is not None and before.takes_rest:
            raise RouteError(f"the pattern {text!r}: nothing can follow {before.name}, which takes the rest")
        if before is not None and before.optional and not (isinstance(segment, Parameter) and segment.optional):
            raise RouteError(f"the pattern {text!r}: what follows {before.name} must be optional too")
        before = None
        if isinstance(segment, Parameter):
            if segment.name in seen:
                raise RouteError(f"the pattern {text!r} has {segment.name} twice")
            if segment.name == "request":
                raise RouteError(f"the pattern {text!r}: the name request is taken by the request")
            seen.add(segment.name)
            before = segment
