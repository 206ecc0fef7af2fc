"""Whether a topic could have been expanded from a URI Template (RFC 6570, all four levels).

A topic is cut into units: a character, or the percent-encoded triplets of one character. A set of
places between units is one integer, a bit for each, and every element of a template moves the whole
set at once: a literal by shifts, a run of allowed characters by one addition, a prefix of ``n``
characters by the logarithm of ``n`` shifts. So the steps of a match are those of the template, whatever
the topic: nothing backtracks, and nothing is tried twice.

It is the language of the template that is matched, not the values: two places of one variable need not
agree. As RFC 6570 expands it, a variable may be undefined and then leaves nothing behind, a value may
be a list or a map, and ``{id}`` is made of unreserved characters, triplets and the commas of a list: it
ends at a ``/``, and does not match a raw ``ü``. In one thing this is stricter than the hub of reference,
which lets ``{?a}`` match ``?b=1`` and ``{a:1}`` match ``ab``; nothing can be expanded to these. Literals
match as they are written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cached_property

import attrs

__all__ = ["MAX_TEMPLATE_LENGTH", "MAX_TOPIC_LENGTH", "MAX_VARIABLES", "Template", "Topic", "parse"]

# In characters. A longer selector is no template; a longer topic is matched by no template.
MAX_TEMPLATE_LENGTH = 2048
MAX_TOPIC_LENGTH = 4096
# Nor is a selector with more: a match costs some microseconds for each.
MAX_VARIABLES = 16

_TAIL = "%[89ABab][0-9A-Fa-f]"
_UNIT = re.compile(
    f"%[CDcd][0-9A-Fa-f]{_TAIL}|%[Ee][0-9A-Fa-f](?:{_TAIL}){{2}}|%[Ff][0-7](?:{_TAIL}){{3}}|%[0-9A-Fa-f]{{2}}|.",
    re.DOTALL,
)
# RFC 3986, 2.2 and 2.3
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_RESERVED = frozenset(":/?#[]@!$&'()*+,;=")

# RFC 6570, 2.1 to 2.4. Of literals, what is not ASCII is let be but for controls, surrogates and non-characters.
_LITERALS = re.compile(
    r"(?:[!#$&(-;=?-\[\]_a-z~\xA0-\uD7FF\uE000-\uFDCF\uFDF0-\uFFEF\U00010000-\U0010FFFD]|%[0-9A-Fa-f]{2})*"
)
_VARCHAR = "(?:[0-9A-Za-z_]|%[0-9A-Fa-f]{2})"
_VARIABLE = re.compile(rf"({_VARCHAR}+(?:\.{_VARCHAR}+)*)(?:(\*)|:([1-9][0-9]{{0,3}}))?")


class Topic:
    """A topic made ready to be matched with any number of templates."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def units(self) -> Sequence[str]:
        return _units(self.text)

    @cached_property
    def _at(self) -> dict[str, int]:
        """Where each unit stands."""
        at: dict[str, int] = {}
        place = 1
        for unit in self.units:
            at[unit] = at.get(unit, 0) | place
            place <<= 1
        return at

    def at(self, unit: str) -> int:
        return self._at.get(unit, 0)

    @cached_property
    def unreserved(self) -> int:
        """Where a unit stands that any value may hold."""
        return sum(places for unit, places in self._at.items() if len(unit) > 1 or unit in _UNRESERVED)

    @cached_property
    def any(self) -> int:
        """Where a unit stands that a value of ``{+x}`` or ``{#x}`` may hold."""
        return self.unreserved | sum(places for unit, places in self._at.items() if unit in _RESERVED)


def _units(text: str) -> Sequence[str]:
    return _UNIT.findall(text) if "%" in text else text


def _literal(places: int, text: str, topic: Topic) -> int:
    """Past ``text``, from any of ``places``."""
    for unit in _units(text):
        places = (places & topic.at(unit)) << 1
        if not places:
            break
    return places


def _run(places: int, allowed: int) -> int:
    """Past any number of units that stand at ``allowed``: the carry runs to the end of them (Hyyrö)."""
    return (((places & allowed) + allowed) ^ allowed) | places


def _run_of(places: int, allowed: int, at_most: int) -> int:
    """Past ``at_most`` such units, or fewer."""
    done, stride = 0, 1
    strides = []  # 1, 2, 4 ... and where so many of them follow one another
    while allowed and done + stride <= at_most:
        places |= (places & allowed) << stride
        done += stride
        strides.append((stride, allowed))
        allowed &= allowed >> stride
        stride *= 2
    for stride, allowed in reversed(strides):
        if done + stride <= at_most:
            places |= (places & allowed) << stride
            done += stride
    return places


@attrs.frozen
class _Operator:
    """RFC 6570, appendix A."""

    first: str
    separator: str
    named: bool = False
    bare: bool = False  # the name of an empty value has no "="
    reserved: bool = False


_OPERATORS = {
    "": _Operator("", ","),
    "+": _Operator("", ",", reserved=True),
    "#": _Operator("#", ",", reserved=True),
    ".": _Operator(".", "."),
    "/": _Operator("/", "/"),
    ";": _Operator(";", ";", named=True, bare=True),
    "?": _Operator("?", "&", named=True),
    "&": _Operator("&", "&", named=True),
}


@attrs.frozen
class _Variable:
    name: str
    explode: bool
    at_most: int | None  # characters of its value


@attrs.frozen
class _Literal:
    text: str

    def past(self, places: int, topic: Topic) -> int:
        return _literal(places, self.text, topic)


@attrs.frozen
class _Expression:
    operator: _Operator
    variables: Sequence[_Variable]

    def past(self, places: int, topic: Topic) -> int:
        """RFC 6570, 3.2.1: those that are defined, in order, each with what parts it from the one before."""
        after = 0
        for variable in self.variables:
            begun = _literal(places, self.operator.first, topic) | _literal(after, self.operator.separator, topic)
            after |= self._past_value(variable, begun, topic)
        return places | after

    def _past_value(self, variable: _Variable, places: int, topic: Topic) -> int:
        operator = self.operator
        allowed = topic.any if operator.reserved else topic.unreserved
        if variable.explode:
            # Items of a list, or pairs of a map: of these the names may be any.
            allowed |= topic.at("=") | topic.at(operator.separator)
            if operator.named:
                places = (places & allowed) << 1
            return _run(places, allowed)
        bare = 0
        if operator.named:
            places = _literal(places, variable.name, topic)
            bare = places if operator.bare else 0
            places = _literal(places, "=", topic)
        if variable.at_most is None:
            return bare | _run(places, allowed | topic.at(","))
        return bare | _run_of(places, allowed, variable.at_most)


@attrs.frozen
class Template:
    """A URI Template. ``prefix`` and ``suffix`` are the literals that all it matches begin and end with."""

    text: str
    prefix: str
    suffix: str
    _parts: Sequence[_Literal | _Expression] = attrs.field(repr=False)
    _begun: int = attrs.field(default=1, repr=False)  # the place before the first part

    def matches(self, topic: Topic) -> bool:
        """Whether ``topic`` could have been expanded from this."""
        text = topic.text
        if len(text) > MAX_TOPIC_LENGTH or not (text.startswith(self.prefix) and text.endswith(self.suffix)):
            return False
        places = self._begun
        for part in self._parts:
            places = part.past(places, topic)
            if not places:
                return False
        return bool(places >> len(topic.units))


def parse(text: str) -> Template | None:
    """The template that ``text`` is; None when it has no expression, breaks the grammar, or passes a bound."""
    if "{" not in text or len(text) > MAX_TEMPLATE_LENGTH:
        return None
    parts: list[_Literal | _Expression] = []
    place = variables = 0
    while place < len(text):
        if text[place] == "{":
            end = text.find("}", place)
            expression = _expression(text[place + 1 : end]) if end > 0 else None
            if expression is None:
                return None
            variables += len(expression.variables)
            parts.append(expression)
            place = end + 1
        else:
            literals = _LITERALS.match(text, place)
            if literals is None or literals.end() == place:
                return None
            parts.append(_Literal(literals[0]))
            place = literals.end()
    if variables > MAX_VARIABLES:
        return None
    first, last = parts[0], parts[-1]
    prefix = first.text if isinstance(first, _Literal) else ""
    suffix = last.text if isinstance(last, _Literal) else ""
    if prefix and "%" not in prefix:  # then it is as many units as characters, and startswith has seen them
        return Template(text, prefix, suffix, tuple(parts[1:]), 1 << len(prefix))
    return Template(text, prefix, suffix, tuple(parts))


def _expression(text: str) -> _Expression | None:
    operator = text[:1] if text[:1] in _OPERATORS else ""
    variables = []
    for item in text[len(operator) :].split(","):
        variable = _VARIABLE.fullmatch(item)
        if variable is None:
            return None
        name, explode, at_most = variable.groups()
        variables.append(_Variable(name, explode is not None, int(at_most) if at_most else None))
    return _Expression(_OPERATORS[operator], tuple(variables))
