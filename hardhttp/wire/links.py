"""Links between resources, as the ``Link`` field says them (RFC 8288).

A ``Link`` is a value: a target, its relation types, target attributes, and the context where that is not
the message's own resource. It cannot hold what would end a field or begin another, so whatever can be
made can be sent, and comes back the same when it is read.

``parse_links`` reads what others wrote as appendix B of the RFC does: commas and semicolons inside quotes
and inside ``<>`` are text, what cannot be understood ends the reading of its line, and the links before it
stand. What is read is bounded in bytes and in links, and costs no more than its length.

Where a link leads, and whether that is this origin, is not known here: see ``hardhttp.wire.push``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import quote, unquote

import attrs

from hardhttp.wire.grammar import FIELD_VALUE

__all__ = ["MAX_LINKS", "MAX_LINK_BYTES", "Link", "encode_links", "parse_links"]

# Far more than a page can use at once, and less than clients take for a whole head.
MAX_LINKS = 64
MAX_LINK_BYTES = 8 * 1024

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
# RFC 3986, 4.1, wider by what browsers send unencoded; neither ends a "<...>" nor a quoted string.
_REFERENCE = re.compile(r"[!#-;=?-~]*")
_RELATION = re.compile(r"[!#-\[\]-~]+")
# Text without control characters and lone surrogates.
_TEXT = re.compile("[\t -~\u00a0-\ud7ff\ue000-\U0010ffff]*")
# RFC 8187, 3.2.1. UTF-8 is the only character set there is; a language is allowed, and not kept.
_ATTR_CHARS = "!#$&+-.^_`|~"
_EXT_VALUE = re.compile(r"(?i:utf-8)'[0-9A-Za-z-]*'((?:%[0-9A-Fa-f]{2}|[!#$&+\-.^_`|~0-9A-Za-z])*)")

_OWS = re.compile(r"[ \t]*")
_NAME = re.compile(r"[^ \t=;,]*")
_BARE = re.compile(r"[^;,]*")
# B.4: an end that is missing is the end of the input.
_QUOTED = re.compile(r'"((?:[^"\\]++|\\.)*+)(?:"|\\?\Z)', re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)

_OWN = frozenset({"rel", "anchor"})
_MANY = "hreflang"  # 3.4.1: the only one of which a second says something; of others the first counts
_PLAIN = frozenset({*_OWN, "rev", "hreflang", "media", "type"})  # their grammar knows no "*"


def _relations(given: str | Iterable[str]) -> tuple[str, ...]:
    types = _split(given) if isinstance(given, str) else given
    return tuple(each.lower() for each in types)


def _split(rel: str) -> list[str]:
    return [each for each in rel.replace("\t", " ").split(" ") if each]


def _attributes(given: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> tuple[tuple[str, str], ...]:
    pairs = given.items() if isinstance(given, Mapping) else given
    return tuple((name.lower(), "" if value is True else value) for name, value in pairs)


@attrs.frozen(cache_hash=True)
class Link:
    """One link. ``Link("/app.css", "preload", {"as": "style"})``

    ``target`` is a URI reference in US-ASCII, as it goes out. ``rel`` is one relation type or more, as a
    tuple or as text with blanks between; it is kept in lower case. ``attributes`` are the target attributes, a
    mapping or pairs: a value is text, and the empty text, or ``True``, stands for a name alone (``nopush``,
    ``crossorigin``). ``anchor`` is the link's context, where that is not the message's own resource.

    Raises ``ValueError`` for what cannot be sent, saying what it is.
    """

    target: str = attrs.field()
    rel: tuple[str, ...] = attrs.field(converter=_relations)
    attributes: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_attributes)
    anchor: str | None = attrs.field(default=None)

    @target.validator
    @anchor.validator
    def _check_reference(self, attribute: Any, value: str | None) -> None:
        if value is not None and _REFERENCE.fullmatch(value) is None:
            raise ValueError(f"a link's {attribute.name} is {value!r}; it must be a URI reference in US-ASCII")

    @rel.validator
    def _check_rel(self, attribute: Any, value: tuple[str, ...]) -> None:
        if not value or any(_RELATION.fullmatch(each) is None for each in value):
            raise ValueError(f"a link's rel is {' '.join(value)!r}; it must be relation types, such as preload")

    @attributes.validator
    def _check_attributes(self, attribute: Any, value: tuple[tuple[str, str], ...]) -> None:
        seen: set[str] = set()
        for name, text in value:
            if _TOKEN.fullmatch(name) is None or name.endswith("*") or name in _OWN:
                raise ValueError(f"a link cannot have an attribute {name!r}")
            if name in seen and name != _MANY:
                raise ValueError(f"a link's {name} is given twice")
            if not isinstance(text, str) or not _may_be(name, text):
                raise ValueError(f"a link's {name} is {text!r}; it must be text in one line")
            seen.add(name)

    def get(self, name: str) -> str | None:
        """The first attribute of that name (in lower case); ``""`` for one without a value."""
        return next((text for key, text in self.attributes if key == name), None)

    def encode(self) -> bytes:
        """The link as a member of a ``Link`` field (RFC 8288, 3)."""
        parts = [f"<{self.target}>", "rel=" + _quoted_unless_token(" ".join(self.rel))]
        if self.anchor is not None:
            parts.append(f'anchor="{_escape(self.anchor)}"')
        for name, text in self.attributes:
            if not text:
                parts.append(name)
            elif text.isascii():
                parts.append(f"{name}={_quoted_unless_token(text)}")
            else:
                parts.append(f"{name}*=UTF-8''{quote(text, safe=_ATTR_CHARS)}")
        return "; ".join(parts).encode("ascii")


def encode_links(links: Iterable[Link]) -> bytes:
    """The value of one ``Link`` field. Raises ``ValueError`` past ``MAX_LINKS`` or ``MAX_LINK_BYTES``."""
    encoded = [link.encode() for link in links]
    value = b", ".join(encoded)
    if len(encoded) > MAX_LINKS or len(value) > MAX_LINK_BYTES:
        raise ValueError(
            f"{len(encoded)} links of {len(value):,} bytes; at most {MAX_LINKS} of {MAX_LINK_BYTES:,} can be sent"
        )
    return value


def parse_links(values: Iterable[bytes], max_links: int = MAX_LINKS, max_bytes: int = MAX_LINK_BYTES) -> list[Link]:
    """The links in ``Link`` field lines, in their order.

    The first ``max_links`` are read, and lines as long as they all stay within ``max_bytes``: part of a line
    might say something else than the whole. A link without a relation type is none (3.3). Never raises.
    """
    links: list[Link] = []
    for value in values:
        max_bytes -= len(value)
        if max_bytes < 0:
            break
        if FIELD_VALUE.fullmatch(value) is not None:
            _parse_line(_text(value), links, max_links)
    return links


def _parse_line(text: str, links: list[Link], max_links: int) -> None:
    """Appendix B.2; an empty member of the list is passed over (RFC 9110, 5.6.1.2)."""
    position = 0
    while len(links) < max_links:
        position = _past_blanks(text, position)
        if text.startswith(",", position):
            position += 1
            continue
        end = text.find(">", position)
        if not text.startswith("<", position) or end < 0:
            return
        target = text[position + 1 : end]
        parameters, position = _parse_parameters(text, end + 1)
        link = _link(target, parameters)
        if link is not None:
            links.append(link)


def _parse_parameters(text: str, position: int) -> tuple[list[tuple[str, str]], int]:
    """Appendix B.3: the parameters behind a target, and where they end."""
    parameters: list[tuple[str, str]] = []
    while True:
        position = _past_blanks(text, position)
        if not text.startswith(";", position):
            return parameters, position
        name, position = _take(_NAME, text, _past_blanks(text, position + 1))
        position = _past_blanks(text, position)
        value = ""
        if text.startswith("=", position):
            position = _past_blanks(text, position + 1)
            quoted = _QUOTED.match(text, position)
            if quoted is not None:
                value, position = _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
            else:
                value, position = _take(_BARE, text, position)
                value = value.rstrip(" \t")
        parameters.append((name.lower(), value))


def _link(target: str, parameters: list[tuple[str, str]]) -> Link | None:
    """Appendix B.2, 9 to 17; ``None`` for what is no link, or leads from where nobody can tell."""
    first = dict(reversed(parameters))  # 3.2, 3.3: of several the first counts
    rel = [each for each in _split(first.get("rel", "")) if _RELATION.fullmatch(each) is not None]
    anchor = first.get("anchor")
    if not rel or _REFERENCE.fullmatch(target) is None:
        return None
    if anchor is not None and _REFERENCE.fullmatch(anchor) is None:
        return None
    attributes: list[tuple[str, str]] = []
    seen: set[str] = set()
    wide = {name[:-1]: value for name, value in _wide_values(parameters)}
    for name, value in parameters:
        if name.endswith("*"):
            name = name[:-1]
            if name not in wide:
                continue
            value = wide[name]
        elif name in wide or name in _OWN:
            continue  # 3.4.1: where there is both, the one with "*" counts
        is_new = name not in seen or name == _MANY
        if is_new and _TOKEN.fullmatch(name) is not None and _may_be(name, value):
            seen.add(name)
            attributes.append((name, value))
    return Link(target, rel, attributes, anchor)


def _wide_values(parameters: list[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """The parameters with ``*`` that can be decoded (RFC 8187), the last first."""
    for name, value in reversed(parameters):
        found = _EXT_VALUE.fullmatch(value) if name.endswith("*") and name[:-1] not in _PLAIN else None
        if found is None:
            continue
        try:
            text = unquote(found[1], errors="strict")
        except UnicodeDecodeError:
            continue
        if text and not name[:-1].endswith("*") and _may_be(name[:-1], text):
            yield name, text


def _may_be(name: str, text: str) -> bool:
    """Whether an attribute may have this value."""
    return _TEXT.fullmatch(text) is not None and (text.isascii() or name not in _PLAIN)


def _text(value: bytes) -> str:
    """A field's value as text: most who write beyond US-ASCII write UTF-8."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def _past_blanks(text: str, position: int) -> int:
    found = _OWS.match(text, position)
    return position if found is None else found.end()


def _take(pattern: re.Pattern[str], text: str, position: int) -> tuple[str, int]:
    found = pattern.match(text, position)
    return ("", position) if found is None else (found[0], found.end())


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _quoted_unless_token(text: str) -> str:
    return text if _TOKEN.fullmatch(text) is not None else f'"{_escape(text)}"'
