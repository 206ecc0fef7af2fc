"""Who wants which topics.

A selector is ``*``, which is every topic; else a string, which is the topic equal to it, and, when it is
a URI Template too, every topic that could have been expanded from it (Mercure 0.24). What looks like a
template but is none, or is longer than a template may be, is a string and no more. Mercure 1.0 has
patterns of another kind; they would be another table beside ``_Templates``.

``TopicIndex`` holds the subscribers of an ``EventHub``, by selector. A topic finds those of its own
string and of ``*`` by looking in a dict, and templates by the literals they begin with: one look for
each length that some template's prefix has, and never more than the topic has characters, so that the
number of templates costs nothing. Templates of one prefix are told apart by the literals they end with,
in the same way; only those that agree in both are tried. Nothing a peer sent stays here after its
selectors are removed, nothing of a topic stays at all, and the one cache, of parsed selectors for
``matches``, is bounded in number and each entry by ``MAX_TEMPLATE_LENGTH`` and ``MAX_VARIABLES``.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterable, Iterator
from functools import lru_cache
from typing import Any, Generic, TypeVar

from hardhttp.wire.uritemplate import MAX_TEMPLATE_LENGTH, Template, Topic, parse

__all__ = ["EVERYTHING", "Selectors", "TopicIndex", "matches"]

EVERYTHING = "*"
PARSED_SELECTORS = 512

Subscriber = TypeVar("Subscriber", bound=Hashable)
Value = TypeVar("Value")

_NOBODY: frozenset[Any] = frozenset()

_parse = lru_cache(maxsize=PARSED_SELECTORS)(parse)


def _template(selector: str) -> Template | None:
    """The template a selector is; what cannot be one is not kept."""
    return _parse(selector) if "{" in selector and len(selector) <= MAX_TEMPLATE_LENGTH else None


def matches(selector: str, topic: str) -> bool:
    """Whether ``selector`` selects ``topic``. Never raises; linear in the selector's length."""
    if selector in (EVERYTHING, topic):
        return True
    template = _template(selector)
    return template is not None and template.matches(Topic(topic))


class Selectors:
    """Some selectors together, as of one subscriber or one token. They do not change.

    ``strings`` are the selectors, each once, in the order they were given.
    """

    def __init__(self, selectors: Iterable[str]) -> None:
        self.strings = tuple(dict.fromkeys(selectors))
        self._exact = frozenset(self.strings)
        self._templates = tuple(template for text in self.strings if (template := _template(text)) is not None)

    def match(self, topics: Iterable[str]) -> bool:
        """Whether one of ``topics`` is selected; of none, not even ``*`` selects any."""
        topics = tuple(topics)
        if not topics or EVERYTHING in self._exact or not self._exact.isdisjoint(topics):
            return bool(topics)
        if not self._templates:
            return False
        return any(template.matches(topic) for topic in map(Topic, topics) for template in self._templates)


class _ByLiteral(Generic[Value]):
    """Values by a literal that a topic begins with, or ends with: one look for each length there is."""

    __slots__ = ("_lengths", "_of_length", "values")

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self._of_length: dict[int, int] = {}  # how many literals are that long
        self._lengths: list[int] = []  # in order

    def add(self, literal: str, value: Value) -> Value:
        """What is kept there, which is ``value`` if nothing was."""
        if literal not in self.values:
            self.values[literal] = value
            length = len(literal)
            if length not in self._of_length:
                insort(self._lengths, length)
            self._of_length[length] = self._of_length.get(length, 0) + 1
        return self.values[literal]

    def remove(self, literal: str) -> None:
        del self.values[literal]
        length = len(literal)
        self._of_length[length] -= 1
        if not self._of_length[length]:
            del self._of_length[length]
            self._lengths.remove(length)

    def beginning(self, text: str) -> Iterator[Value]:
        for length in self._lengths:
            if length > len(text):
                break
            value = self.values.get(text[:length])
            if value is not None:
                yield value

    def ending(self, text: str) -> Iterator[Value]:
        for length in self._lengths:
            if length > len(text):
                break
            value = self.values.get(text[len(text) - length :])
            if value is not None:
                yield value


class _Templates:
    """Templates by prefix, then by suffix, then by their own text."""

    __slots__ = ("_prefixes",)

    def __init__(self) -> None:
        self._prefixes: _ByLiteral[_ByLiteral[dict[str, Template]]] = _ByLiteral()

    def add(self, template: Template) -> None:
        suffixes = self._prefixes.values.get(template.prefix)
        if suffixes is None:
            suffixes = self._prefixes.add(template.prefix, _ByLiteral())
        suffixes.add(template.suffix, {})[template.text] = template

    def remove(self, template: Template) -> None:
        suffixes = self._prefixes.values[template.prefix]
        same = suffixes.values[template.suffix]
        del same[template.text]
        if not same:
            suffixes.remove(template.suffix)
        if not suffixes.values:
            self._prefixes.remove(template.prefix)

    def matching(self, text: str) -> Iterator[str]:
        """The templates that ``text`` could have been expanded from."""
        topic = None
        for suffixes in self._prefixes.beginning(text):
            for same in suffixes.ending(text):
                topic = topic or Topic(text)
                for template in same.values():
                    if template.matches(topic):
                        yield template.text


class TopicIndex(Generic[Subscriber]):
    """The subscribers of each selector. A subscriber is anything that can be hashed."""

    def __init__(self) -> None:
        self._subscribers: dict[str, set[Subscriber]] = {}
        self._templates = _Templates()

    def __len__(self) -> int:
        """How many different selectors someone has."""
        return len(self._subscribers)

    def add(self, selector: str, subscriber: Subscriber) -> None:
        """From now on ``subscriber`` wants what ``selector`` selects; said twice, it is said once."""
        subscribers = self._subscribers.get(selector)
        if subscribers is not None:
            subscribers.add(subscriber)
            return
        self._subscribers[selector] = {subscriber}
        template = parse(selector)
        if template is not None:
            self._templates.add(template)

    def remove(self, selector: str, subscriber: Subscriber) -> None:
        """Undo ``add``; when it was not done, nothing."""
        subscribers = self._subscribers.get(selector)
        if subscribers is None or subscriber not in subscribers:
            return
        subscribers.remove(subscriber)
        if not subscribers:
            del self._subscribers[selector]
            template = parse(selector)
            if template is not None:
                self._templates.remove(template)

    def matching(self, topics: Iterable[str]) -> set[Subscriber]:
        """Whoever wants one of ``topics``, in a set of the caller's own; of no topics, nobody."""
        found: set[Subscriber] = set()
        for topic in dict.fromkeys(topics):
            # A template is also equal to itself, and found so.
            for selector in (EVERYTHING, topic, *self._templates.matching(topic)):
                found |= self._subscribers.get(selector, _NOBODY)
        return found
