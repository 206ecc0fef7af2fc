"""Who wants which topics: the index finds what trying every selector finds, and does not try them all."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.sse import topics as module
from hardhttp.sse.topics import PARSED_SELECTORS, Selectors, TopicIndex, matches
from hardhttp.wire.uritemplate import MAX_TEMPLATE_LENGTH, Template, Topic

BOOK = "https://example.com/books/1"
BOOKS = "https://example.com/books/{id}"


# -- one selector, one topic -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("selector", "topic", "expected"),
    [
        ("*", BOOK, True),
        ("*", "", True),
        ("*", "*", True),
        ("**", BOOK, False),
        (BOOK, BOOK, True),
        (BOOK, BOOK + "/", False),
        (BOOK, BOOK.upper(), False),
        (BOOKS, BOOK, True),
        (BOOKS, BOOKS, True),  # a template is a string as well
        (BOOKS, BOOK + "/authors", False),
        ("a{", "a{", True),  # no template: itself, and nothing else
        ("a{b", "ab", False),
        ("{a:0}", "", False),
        ("", "", True),
        ("", "a", False),
        ("{+any}", BOOK, True),
        ("\ud800{a}", "\ud800{a}", True),
    ],
)
def test_matches(selector: str, topic: str, expected: bool) -> None:
    assert matches(selector, topic) is expected
    assert Selectors([selector]).match([topic]) is expected
    index: TopicIndex[int] = TopicIndex()
    index.add(selector, 1)
    assert index.matching([topic]) == ({1} if expected else set())


def test_a_selector_too_long_for_a_template_is_a_string() -> None:
    for extra in (0, 1):
        selector = "{a}".ljust(MAX_TEMPLATE_LENGTH + extra, "x")
        assert matches(selector, selector)
        assert matches(selector, selector[3:]) is (extra == 0)


def test_e07_what_a_peer_sends_is_cached_within_bounds() -> None:
    """So many selectors and no more, none that is too long, and no topic at all."""
    for number in range(PARSED_SELECTORS + 100):
        matches(f"{number}/{{a}}", f"{number}/b")
        Selectors([f"{number}/{{b}}"]).match(["c"])
    info = module._parse.cache_info()
    assert info.maxsize == PARSED_SELECTORS == info.currsize
    misses = info.misses
    for number in range(10):
        matches("{a}" + "x" * MAX_TEMPLATE_LENGTH, str(number))
        matches(str(number), "x")
    assert module._parse.cache_info().misses == misses
    matches("9/{a}", "x")
    misses = module._parse.cache_info().misses
    for number in range(10):
        matches("9/{a}", str(number))
    assert module._parse.cache_info().misses == misses


# -- some selectors ----------------------------------------------------------------------------------


def test_selectors() -> None:
    selectors = Selectors([BOOKS, "a", "a"])
    assert selectors.strings == (BOOKS, "a")
    assert selectors.match(["x", "a"])
    assert selectors.match(iter(["x", BOOK]))
    assert not selectors.match(["x", "y"])
    assert not selectors.match([])
    assert not Selectors([]).match([BOOK])
    assert Selectors(["*"]).match(["x"])
    assert not Selectors(["*"]).match([])


# -- the index ---------------------------------------------------------------------------------------


def test_each_subscriber_once() -> None:
    index: TopicIndex[str] = TopicIndex()
    for selector in ("*", BOOK, BOOKS, "https://{+rest}"):
        index.add(selector, "ann")
        index.add(selector, "ann")
    index.add(BOOKS, "bob")
    index.add("other", "eve")
    assert len(index) == 5
    assert index.matching([BOOK, BOOK, "https://example.com/books/2", "x"]) == {"ann", "bob"}
    assert index.matching(["x"]) == {"ann"}
    assert index.matching(["x", "other"]) == {"ann", "eve"}
    assert index.matching([]) == set()


def test_what_is_found_is_the_callers() -> None:
    """Whoever goes while an event is sent to those found changes nothing in what was found."""
    index: TopicIndex[int] = TopicIndex()
    index.add("a", 1)
    found = index.matching(["a"])
    index.remove("a", 1)
    assert found == {1}
    found.add(2)
    index.add("a", 3)
    assert index.matching(["a"]) == {3}


def test_removal_leaves_nothing() -> None:
    class Subscriber:
        pass

    index: TopicIndex[Subscriber] = TopicIndex()
    ann, bob = Subscriber(), Subscriber()
    selectors = ["*", "a", "a{", "", BOOKS, BOOKS + "/x", "{a}", "{b}", "{a}/x", "a%20{b}"]
    for selector in selectors:
        index.add(selector, ann)
        index.add(selector, bob)
        index.add(selector, bob)
    for selector in selectors:
        index.remove(selector, bob)
        index.remove(selector, bob)  # not there: nothing
    assert index.matching([BOOK]) == {ann}
    index.remove("never", ann)
    gone = weakref.ref(bob)
    del bob
    gc.collect()
    assert gone() is None
    for selector in selectors:
        index.remove(selector, ann)
    assert len(index) == 0
    assert_empty(index)


def assert_empty(index: TopicIndex[Any]) -> None:
    prefixes = index._templates._prefixes
    assert (index._subscribers, prefixes.values, prefixes._of_length, prefixes._lengths) == ({}, {}, {}, [])


PIECES = st.sampled_from(
    ["a", "b", "/", "ab", "{x}", "{+x}", "{/x,y}", "{?x*}", "{x:1}", "{", "}", "*", "%20", "ü", "?x=1"]
)
STRINGS = st.lists(PIECES, max_size=4).map("".join)
CHANGES = st.lists(st.tuples(st.booleans(), STRINGS, st.integers(0, 3)), max_size=20)


@given(CHANGES, st.lists(STRINGS, max_size=3))
def test_the_index_finds_what_trying_all_finds(changes: list[tuple[bool, str, int]], topics: list[str]) -> None:
    index: TopicIndex[int] = TopicIndex()
    model: set[tuple[str, int]] = set()
    for adds, selector, subscriber in changes:
        (index.add if adds else index.remove)(selector, subscriber)
        (model.add if adds else model.discard)((selector, subscriber))
    assert len(index) == len({selector for selector, _ in model})
    expected = {who for selector, who in model if any(matches(selector, topic) for topic in topics)}
    assert index.matching(topics) == expected
    for subscriber in range(4):
        mine = Selectors(selector for selector, who in model if who == subscriber)
        assert mine.match(topics) == (subscriber in expected)
    for selector, subscriber in model:
        index.remove(selector, subscriber)
    assert_empty(index)


@given(st.text() | STRINGS, st.text() | STRINGS)
def test_nothing_raises(selector: str, topic: str) -> None:
    index: TopicIndex[int] = TopicIndex()
    index.add(selector, 1)
    assert index.matching([topic]) == ({1} if matches(selector, topic) else set())
    index.remove(selector, 1)
    assert_empty(index)


# -- what an event costs -------------------------------------------------------------------------------


def lines_run(call: Callable[[], Any]) -> int:
    """How many lines of Python ``call`` executes, when it has run before and the collector does not interfere."""
    call()
    count = 0

    def trace(_frame: Any, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    gc.disable()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
        gc.enable()
    return count


@pytest.mark.parametrize(
    ("selector", "topic"),
    [
        ("https://example.com/{number:05d}/{{id}}", "https://example.com/00007/1"),
        ("https://example.com/{{id}}/{number:05d}", "https://example.com/1/00007"),
        ("/{number:05d}/{{id}}", "/99999/1"),
        ("{number:05d}", "00007"),
    ],
)
def test_ten_thousand_cost_what_ten_cost(selector: str, topic: str) -> None:
    """Strings, and templates that begin, or end, in different ways."""
    costs = []
    for count in (10, 10_000):
        index: TopicIndex[int] = TopicIndex()
        for number in range(count):
            index.add(selector.format(number=number), number)
        assert index.matching([topic]) == ({7} if "00007" in topic else set())
        costs.append(lines_run(lambda index=index: index.matching([topic])))  # type: ignore[misc]
    # A newer Python's tracing may count a few lines twice.
    assert costs[1] <= 1.2 * costs[0]


def test_only_what_begins_and_ends_so_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    real = Template.matches
    monkeypatch.setattr(Template, "matches", lambda self, topic: (tried.append(self.text), real(self, topic))[1])
    index: TopicIndex[int] = TopicIndex()
    for selector in (BOOKS, BOOKS + "/x", "https://example.com/{kind}/1", "https://{+rest}", "{+rest}", "urn:{x}"):
        index.add(selector, 1)
    index.matching([BOOK])
    assert sorted(tried) == sorted([BOOKS, "https://example.com/{kind}/1", "https://{+rest}", "{+rest}"])


def test_prefixes_of_every_length_cost_the_length_of_the_topic() -> None:
    """What the meanest of peers can ask for: one look for each character of the topic, and no more."""

    def cost(count: int) -> int:
        index: TopicIndex[int] = TopicIndex()
        for number in range(count):
            index.add("a" * number + "!{x}", number)
        return lines_run(lambda: index.matching(["b" * 100]))

    assert cost(1000) <= cost(99) + 20
    assert cost(1000) < 1000


def test_one_topic_is_made_ready_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(module, "Topic", lambda text: (made.append(text), Topic(text))[1])
    index: TopicIndex[int] = TopicIndex()
    for number in range(10):
        index.add("https://example.com"[:number] + "{+x}", number)
    assert len(index.matching([BOOK, "other", BOOK])) == 10
    assert made == [BOOK, "other"]
