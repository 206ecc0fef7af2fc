"""Which links belong to which paths, as an application or a file says.

The patterns are a router's (``hardhttp.web.patterns``), and so is the search. All that can be wrong with
rules is found when they are made: a request only looks up.

A file is TOML:

    [[hints]]
    path = "/docs/{rest:path}"
    links = [
        {href = "/docs.css", rel = "preload", as = "style"},
        {href = "https://fonts.example", rel = "preconnect", crossorigin = true},
    ]
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import attrs

from hardhttp.web.patterns import parse_pattern
from hardhttp.web.routetree import RouteTree
from hardhttp.wire.links import Link, encode_links

__all__ = ["MAX_FILE_BYTES", "HintRules", "Prepared", "prepared"]

MAX_FILE_BYTES = 1 << 20
# What a client can act on before it has the page, and what all who know 103 understand.
_RELATIONS = frozenset({"preload", "preconnect"})


@attrs.frozen
class Prepared:
    """Links that can be hinted, and the value of the field that says so."""

    links: tuple[Link, ...]
    value: bytes


@lru_cache(maxsize=64)
def prepared(links: tuple[Link, ...]) -> Prepared:
    """``links``, checked and encoded. An application hints the same few again and again; they are kept.

    Raises ``ValueError`` for links that cannot be hinted, or that are too many.
    """
    for link in links:
        if _RELATIONS.isdisjoint(link.rel):
            raise ValueError(f"{link.target!r} is {' '.join(link.rel)}; only preload and preconnect are hinted")
        if "preload" in link.rel and not link.get("as"):
            raise ValueError(f"{link.target!r} is a preload without as, which no browser loads")
    return Prepared(links, encode_links(links))


@attrs.frozen
class _Rule:
    """What ends at a pattern."""

    pattern: str
    links: Prepared

    def describe(self) -> str:
        return f"the path {self.pattern!r}"


class HintRules:
    """Links by path pattern. Raises ``ValueError`` naming the pattern and what is wrong with it."""

    def __init__(self, rules: Mapping[str, Iterable[Link]] | Iterable[tuple[str, Iterable[Link]]]) -> None:
        self._tree = RouteTree()
        self._count = 0
        for pattern, links in rules.items() if isinstance(rules, Mapping) else rules:
            try:
                rule = _Rule(pattern, prepared(tuple(links)))
                for variant in parse_pattern(pattern).variants():
                    self._tree.check(variant, (b"GET",), rule)
                    self._tree.add(variant, (b"GET",), rule)
            except ValueError as error:
                raise ValueError(f"path {pattern!r}: {error}") from None
            self._count += 1

    def __len__(self) -> int:
        return self._count

    def find(self, segments: Sequence[bytes]) -> Prepared | None:
        """The links for a path, which is given as its decoded segments."""
        found = self._tree.find(b"GET", segments)
        links: Prepared | None = None if found is None else found[0].links
        return links

    def replace(self, other: HintRules) -> None:
        """Become what ``other`` is, from the next request on."""
        self._tree, self._count = other._tree, other._count

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> HintRules:
        """The rules in a TOML file. Raises ``OSError``, and ``ValueError`` saying what is wrong in it."""
        with open(path, "rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            raise ValueError(f"it has more than {MAX_FILE_BYTES:,} bytes")
        document = tomllib.loads(content.decode("utf-8"))
        _check_keys("the file", document, {"hints"})
        return cls([_read_rule(number, table) for number, table in enumerate(_tables(document, "hints"), 1)])


def _read_rule(number: int, table: dict[str, Any]) -> tuple[str, list[Link]]:
    where = f"hints {number}"
    _check_keys(where, table, {"path", "links"})
    path = table.get("path")
    if not isinstance(path, str):
        raise ValueError(f"{where}: path is {path!r}; it must be text, such as '/docs/{{rest:path}}'")
    return path, [_read_link(f"path {path!r}", each) for each in _tables(table, "links")]


def _read_link(where: str, table: dict[str, Any]) -> Link:
    given = dict(table)
    href, rel, anchor = given.pop("href", None), given.pop("rel", None), given.pop("anchor", None)
    if not isinstance(href, str) or not isinstance(rel, str) or not isinstance(anchor, str | None):
        raise ValueError(f"{where}: a link is a table of href, rel and attributes, each text; here is {table!r}")
    try:
        return Link(href, rel, given, anchor)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _tables(table: dict[str, Any], key: str) -> list[dict[str, Any]]:
    found = table.get(key, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise ValueError(f"{key} is {found!r}; it must be a list of tables")
    return found


def _check_keys(where: str, table: dict[str, Any], known: set[str]) -> None:
    unknown = sorted({*table} - known)
    if unknown:
        raise ValueError(f"{where}: there is no {unknown[0]}, only {' and '.join(sorted(known))}")
