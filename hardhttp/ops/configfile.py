"""A configuration file: TOML, in which each key is the name of an option.

    listen = ["tcp:80", "tls:443:/etc/letsencrypt/live"]
    idle-seconds = "2m"
    compress = true

It is read whole and judged whole: a key that is no option, or a value of another kind than its option takes,
is a ``ConfigError`` that names file and line. What values mean is not known here; they become the words that
a command line would hold, so that one code judges both. A value that is refused is never quoted: it may be a key.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from enum import Enum
from typing import Any

import attrs

__all__ = ["MAX_FILE_BYTES", "ConfigError", "Kind", "Setting", "nearest", "read_config"]

MAX_FILE_BYTES = 1 << 20
# Of difflib's ratio: below it two names have little in common.
LIKENESS = 0.6


class ConfigError(ValueError):
    """A file that cannot be read, or does not say what it should; one line, with the file's name."""


class Kind(Enum):
    """What a key takes, and how that is said."""

    FLAG = "true or false"
    VALUE = "a text or a number"
    JOINED = "a text, or a list of texts"  # commas go between them
    SEVERAL = 'a list of texts, such as ["..."]'


@attrs.frozen
class Setting:
    """One key of a file. ``words`` is what a command line would hold instead; ``line`` counts from 1."""

    name: str
    words: tuple[str, ...] = attrs.field(repr=False)
    line: int


def read_config(path: str, kinds: Mapping[str, Kind], elsewhere: Iterable[str] = ()) -> list[Setting]:
    """The settings of the file at ``path``, in its order.

    ``kinds`` names each key that may be there, ``elsewhere`` those that are for the command line alone. Raises
    ``ConfigError``.
    """
    text = _text(path)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    lines = text.splitlines()
    settings = []
    for name, value in table.items():
        line = _line_of(name, lines)
        where = f"{path}, line {line}"
        if name in elsewhere:
            raise ConfigError(f"{where}: {name} is for the command line alone")
        if name not in kinds and isinstance(value, dict):
            raise ConfigError(f"{where}: there are no tables here, and [{name[:60]}] is one; each option is a key")
        if name not in kinds:
            raise ConfigError(f"{where}: there is no option {_quoted(name)}{_hint(name, kinds)}")
        try:
            settings.append(Setting(name, tuple(_words(name, value, kinds[name])), line))
        except ValueError:
            raise ConfigError(f"{where}: {name} takes {kinds[name].value}, not {_kind_of(value)}") from None
    return settings


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of ``names`` that ``name`` was most likely to be."""
    found = get_close_matches(name.lower().replace("_", "-"), names, 1, LIKENESS)
    return found[0] if found else None


def _text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    if len(data) > MAX_FILE_BYTES:
        raise ConfigError(f"{path} is longer than {MAX_FILE_BYTES} bytes")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8: byte {error.start}") from None


def _words(name: str, value: Any, kind: Kind) -> list[str]:
    """What a command line would hold; raises ``ValueError`` for a value of another kind."""
    if kind is Kind.FLAG:
        if not isinstance(value, bool):
            raise ValueError
        return [f"--{name}"] if value else []
    if kind is Kind.SEVERAL or (kind is Kind.JOINED and isinstance(value, list)):
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ValueError
        return [f"--{name}={item}" for item in value] if kind is Kind.SEVERAL else [f"--{name}={','.join(value)}"]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise ValueError
    return [f"--{name}={value}"]


def _line_of(name: str, lines: list[str]) -> int:
    """Where a top-level key stands: the first line that looks like it, and before which a whole document ends.

    The second holds what is within a text of several lines apart from keys.
    """
    looks = re.compile(rf"""\s*\[*\s*["']?{re.escape(name)}["']?\s*[].=]""")
    for number, line in enumerate(lines, 1):
        if looks.match(line) and _is_whole("\n".join(lines[: number - 1])):
            return number
    return 1


def _is_whole(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _hint(name: str, names: Iterable[str]) -> str:
    found = nearest(name, names)
    return "" if found is None else f"; did you mean {found}?"


def _quoted(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:57] + "...")


def _kind_of(value: object) -> str:
    words = {bool: "true or false", str: "a text", int: "a number", float: "a number", list: "a list", dict: "a table"}
    if isinstance(value, list) and not all(isinstance(item, str) for item in value):
        return "a list of other things"
    return words.get(type(value), "a date or a time")
