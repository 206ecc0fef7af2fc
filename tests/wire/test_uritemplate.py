"""What a URI Template matches: all that can be expanded from it, and nothing else, in steps of its own length."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardhttp.wire.uritemplate import MAX_TEMPLATE_LENGTH, MAX_TOPIC_LENGTH, MAX_VARIABLES, Topic, parse

RESERVED = ":/?#[]@!$&'()*+,;="
# RFC 6570, appendix A: first, separator, named, what stands behind the name of an empty value, what is not encoded.
OPERATORS = {
    "": ("", ",", False, "", ""),
    "+": ("", ",", False, "", RESERVED),
    "#": ("#", ",", False, "", RESERVED),
    ".": (".", ".", False, "", ""),
    "/": ("/", "/", False, "", ""),
    ";": (";", ";", True, "", ""),
    "?": ("?", "&", True, "=", ""),
    "&": ("&", "&", True, "=", ""),
}
Value = str | Sequence[str] | Mapping[str, str] | None


def matches(template: str, topic: str) -> bool:
    parsed = parse(template)
    assert parsed is not None, template
    return parsed.matches(Topic(topic))


def expand(template: str, values: Mapping[str, Value]) -> str:
    """RFC 6570, 3.2.1, as it is told there."""
    return re.sub(r"\{([+#./;?&]?)([^}]*)\}", lambda match: _expression(match[1], match[2], values), template)


def _expression(operator: str, variables: str, values: Mapping[str, Value]) -> str:
    first, separator, named, if_empty, safe = OPERATORS[operator]
    said = []
    for variable in variables.split(","):
        name, _, at_most = variable.rstrip("*").partition(":")
        value = values.get(name)
        if value is None or (not isinstance(value, str) and not value):
            continue
        encode: Callable[[str], str] = lambda text: quote(text, safe=safe + "-._~")  # noqa: E731
        pair: Callable[[str, str], str] = lambda key, text: f"{key}={text}" if text else f"{key}{if_empty}"  # noqa: E731
        if isinstance(value, str):
            text = encode(value[: int(at_most)] if at_most else value)
        elif not variable.endswith("*"):
            items = value if isinstance(value, Sequence) else [text for item in value.items() for text in item]
            text = ",".join(map(encode, items))
        elif isinstance(value, Sequence):
            said.append(separator.join(pair(name, encode(item)) if named else encode(item) for item in value))
            continue
        else:
            pairs = ((encode(key), encode(item)) for key, item in value.items())
            said.append(separator.join(pair(*item) if named else "=".join(item) for item in pairs))
            continue
        said.append(pair(name, text) if named else text)
    return first + separator.join(said) if said else ""


RFC_VALUES: dict[str, Value] = {
    "count": ["one", "two", "three"],
    "dom": ["example", "com"],
    "dub": "me/too",
    "hello": "Hello World!",
    "half": "50%",
    "var": "value",
    "who": "fred",
    "base": "http://example.com/home/",
    "path": "/foo/bar",
    "list": ["red", "green", "blue"],
    "keys": {"semi": ";", "dot": ".", "comma": ","},
    "v": "6",
    "x": "1024",
    "y": "768",
    "empty": "",
    "empty_keys": {},
    "undef": None,
}
# RFC 6570, 3.2.2 to 3.2.9
RFC_EXAMPLES = """
{count} one,two,three | {count*} one,two,three | {/count} /one,two,three | {/count*} /one/two/three
{;count} ;count=one,two,three | {;count*} ;count=one;count=two;count=three | {?count} ?count=one,two,three
{?count*} ?count=one&count=two&count=three | {&count*} &count=one&count=two&count=three
{var} value | {hello} Hello%20World%21 | {half} 50%25 | O{empty}X OX | O{undef}X OX | {x,y} 1024,768
{x,hello,y} 1024,Hello%20World%21,768 | ?{x,empty} ?1024, | ?{x,undef} ?1024 | ?{undef,y} ?768 | {var:3} val
{var:30} value | {list} red,green,blue | {list*} red,green,blue | {keys} semi,%3B,dot,.,comma,%2C
{keys*} semi=%3B,dot=.,comma=%2C
{+var} value | {+hello} Hello%20World! | {+half} 50%25 | {base}index http%3A%2F%2Fexample.com%2Fhome%2Findex
{+base}index http://example.com/home/index | O{+empty}X OX | O{+undef}X OX | {+path}/here /foo/bar/here
here?ref={+path} here?ref=/foo/bar | up{+path}{var}/here up/foo/barvalue/here | {+x,hello,y} 1024,Hello%20World!,768
{+path,x}/here /foo/bar,1024/here | {+path:6}/here /foo/b/here | {+list} red,green,blue | {+list*} red,green,blue
{+keys} semi,;,dot,.,comma,, | {+keys*} semi=;,dot=.,comma=,
{#var} #value | {#hello} #Hello%20World! | {#half} #50%25 | foo{#empty} foo# | foo{#undef} foo
{#x,hello,y} #1024,Hello%20World!,768 | {#path,x}/here #/foo/bar,1024/here | {#path:6}/here #/foo/b/here
{#list} #red,green,blue | {#list*} #red,green,blue | {#keys} #semi,;,dot,.,comma,, | {#keys*} #semi=;,dot=.,comma=,
{.who} .fred | {.who,who} .fred.fred | {.half,who} .50%25.fred | www{.dom*} www.example.com | X{.var} X.value
X{.empty} X. | X{.undef} X | X{.var:3} X.val | X{.list} X.red,green,blue | X{.list*} X.red.green.blue
X{.keys} X.semi,%3B,dot,.,comma,%2C | X{.keys*} X.semi=%3B.dot=..comma=%2C | X{.empty_keys} X | X{.empty_keys*} X
{/who} /fred | {/who,who} /fred/fred | {/half,who} /50%25/fred | {/who,dub} /fred/me%2Ftoo | {/var} /value
{/var,empty} /value/ | {/var,undef} /value | {/var,x}/here /value/1024/here | {/var:1,var} /v/value
{/list} /red,green,blue | {/list*} /red/green/blue | {/list*,path:4} /red/green/blue/%2Ffoo
{/keys} /semi,%3B,dot,.,comma,%2C | {/keys*} /semi=%3B/dot=./comma=%2C
{;who} ;who=fred | {;half} ;half=50%25 | {;empty} ;empty | {;v,empty,who} ;v=6;empty;who=fred
{;v,bar,who} ;v=6;who=fred
{;x,y} ;x=1024;y=768 | {;x,y,empty} ;x=1024;y=768;empty | {;x,y,undef} ;x=1024;y=768 | {;hello:5} ;hello=Hello
{;list} ;list=red,green,blue | {;list*} ;list=red;list=green;list=blue | {;keys} ;keys=semi,%3B,dot,.,comma,%2C
{;keys*} ;semi=%3B;dot=.;comma=%2C
{?who} ?who=fred | {?half} ?half=50%25 | {?x,y} ?x=1024&y=768 | {?x,y,empty} ?x=1024&y=768&empty=
{?x,y,undef} ?x=1024&y=768 | {?var:3} ?var=val | {?list} ?list=red,green,blue | {?list*} ?list=red&list=green&list=blue
{?keys} ?keys=semi,%3B,dot,.,comma,%2C | {?keys*} ?semi=%3B&dot=.&comma=%2C
{&who} &who=fred | {&half} &half=50%25 | ?fixed=yes{&x} ?fixed=yes&x=1024 | {&x,y,empty} &x=1024&y=768&empty=
{&var:3} &var=val | {&list} &list=red,green,blue | {&list*} &list=red&list=green&list=blue
{&keys} &keys=semi,%3B,dot,.,comma,%2C | {&keys*} &semi=%3B&dot=.&comma=%2C
"""
EXAMPLES = [tuple(row.split()) for row in RFC_EXAMPLES.replace("\n", " | ").split(" | ") if row]


@pytest.mark.parametrize(("template", "topic"), EXAMPLES)
def test_the_examples_of_the_rfc(template: str, topic: str) -> None:
    assert expand(template, RFC_VALUES) == topic
    assert matches(template, topic)


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("https://example.com/books/{id}", "https://example.com/books/1"),
        ("https://example.com/books/{id}", "https://example.com/books/"),
        ("https://example.com/books/{id}.jsonld", "https://example.com/books/1.2.jsonld"),
        ("/.well-known/mercure/subscriptions{/topic}{/subscriber}", "/.well-known/mercure/subscriptions/a%2Fb/urn%3Ax"),
        ("/.well-known/mercure/subscriptions{/topic}{/subscriber}", "/.well-known/mercure/subscriptions"),
        ("{a}", ""),
        ("{a}{b}", "x"),
        ("{a:2}", "%C3%BC%E2%82%AC"),  # two characters
        ("{a:1}", "%F0%9F%98%80"),
        ("{a:9999}", "x" * 4096),
        ("{a.b}{c%20d}", "x"),
        ("{?a%20b}", "?a%20b=1"),
        ("é/{id}", "é/1"),
        ("%20{a}", "%201"),
        ("a%C3%A9{a}", "a%C3%A9x"),
        ("{;a}", ";a="),
        ("{?keys*}", "?any=1&other"),
        ("{a}b{c}", "abbb"),
        ("{/a}/b", "/b"),
        ("{/a}/b", "/a/b"),
        ("{a}a{b}a{c}a", "aaaa"),
    ],
)
def test_matches(template: str, topic: str) -> None:
    assert matches(template, topic)


@pytest.mark.parametrize(
    ("template", "topic"),
    [
        ("https://example.com/books/{id}", "https://example.com/books/1/2"),
        ("https://example.com/books/{id}", "https://example.com/books"),
        ("https://example.com/books/{id}", "https://example.com/books/ü"),
        ("https://example.com/books/{id}", "https://example.com/books/a b"),
        ("https://example.com/books/{id}", "https://example.com/books/%2"),
        ("https://example.com/books/{id}", "https://example.com/books/%%41"),
        ("https://example.com/books/{id}", "https://example.com/books/1\n"),
        ("https://example.com/books/{id}", "xhttps://example.com/books/1"),
        ("aba{id}aba", "aba"),  # the prefix and the suffix share nothing
        ("{a:2}", "abc"),
        ("{a:2}", "%C3%BC%E2%82%AC%41"),
        ("{a:3}{b:2}", "abcdef"),
        ("{a:3}", "a/"),  # a prefix does not leap over what it may not hold
        ("{a:7}", "abc/ef"),
        ("{a}", "a=b"),
        ("{?a}", "?b=1"),
        ("{?a}", "?a"),
        ("{?a}", "?"),
        ("{?a*}", "?"),
        ("{?a,b}", "?b=1&a=1"),
        ("{?a,b}", "?a=1&a=2"),
        ("{?a}", "?a=1&"),
        ("{/a}", "/a/b"),
        ("{/a,b}", "/a/b/c"),
        ("{.a}", "a"),
        ("{#a}", "a"),
        ("{+a}", "<"),
        ("{+a}", "%"),
        ("{a}b", "a"),
        ("%20{a}", "%2"),
        ("%20{a}", "%20/"),
    ],
)
def test_does_not_match(template: str, topic: str) -> None:
    assert not matches(template, topic)


@pytest.mark.parametrize(
    "text",
    [
        *("{", "a{", "}", "a}", "{}", "{+}", "{a", "{a}}", "{{a}}", "{a}{", "{ a}", "{a,}", "{,a}", "{a:}", "{a:0}"),
        *("{a:01}", "{a:10000}", "{a:-1}", "{a*:1}", "{a:1*}", "{a**}", "{a-b}", "{.}", "{a..b}", "{a.}", "{..a}"),
        *("{%4}", "{a%zz}", "{=a}", "{!a}", "{@a}", "{|a}", "{*}", "{?a&b}", "{ü}", " {a}", "%{a}", "%4{a}", "<{a}"),
        *("\n{a}", "{a}\n", "\0{a}", "\ud800{a}", "'{a}", '"{a}', "\\{a}", "^{a}", "`{a}", "|{a}", "plain", "", "*"),
    ],
)
def test_no_template(text: str) -> None:
    assert parse(text) is None


def test_bounds() -> None:
    assert parse("{a}" + "x" * (MAX_TEMPLATE_LENGTH - 3)) is not None
    assert parse("{a}" + "x" * (MAX_TEMPLATE_LENGTH - 2)) is None
    assert parse("{a}" * MAX_VARIABLES) is not None
    assert parse("{a}" * (MAX_VARIABLES + 1)) is None
    assert parse("{" + ",".join(["a"] * (MAX_VARIABLES + 1)) + "}") is None
    assert matches("{a}", "x" * MAX_TOPIC_LENGTH)
    assert not matches("{a}", "x" * (MAX_TOPIC_LENGTH + 1))


def test_a_template_says_how_its_topics_begin_and_end() -> None:
    for text, ends in {"a/{b}/c": ("a/", "/c"), "{b}": ("", ""), "{b}c": ("", "c"), "c%20{b}": ("c%20", "")}.items():
        template = parse(text)
        assert template is not None
        assert (template.prefix, template.suffix) == ends


# -- whatever is expanded matches, and nothing else ------------------------------------------------

NAMES = ["a", "b", "list", "c.d"]
MODIFIERS = st.sampled_from(["", "", "*", ":1", ":2", ":3", ":5"])
VARIABLES = st.lists(st.tuples(st.sampled_from(NAMES), MODIFIERS).map("".join), min_size=1, max_size=3).map(",".join)
EXPRESSIONS = st.tuples(st.sampled_from(list(OPERATORS)), VARIABLES).map(lambda pair: "{" + "".join(pair) + "}")
LITERALS = st.sampled_from(["/", "a", "b", "ab", "a/b", "?", "&", "=", ",", ".", ";", "%20", "é"])
TEMPLATES = (
    st.lists(EXPRESSIONS | LITERALS, max_size=4).map("".join).flatmap(lambda t: EXPRESSIONS.map(lambda e: e + t))
)
# No "%" of its own: {+x} lets triplets of a value be, and a prefix might cut one.
TEXTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="%") | st.sampled_from("ab/?&=,;.ü"), max_size=6
)
VALUES = st.dictionaries(
    # A pair without a name is none that a template could mean.
    st.sampled_from(NAMES),
    TEXTS | st.lists(TEXTS, max_size=3) | st.dictionaries(TEXTS.filter(bool), TEXTS, max_size=3),
)


@given(TEMPLATES, VALUES)
def test_what_is_expanded_matches(template: str, values: dict[str, Value]) -> None:
    # A prefix of a list or a map is not defined (RFC 6570, 2.4.1).
    for name in re.findall(r"([a-z][a-z.]*):", template):
        if not isinstance(values.get(name), str):
            values.pop(name, None)
    assert matches(template, expand(template, values))


def as_regex(template: str) -> str:
    """The same language, by another way, and one that backtracks."""
    return "".join(
        _expression_regex(operator, variables) if variables else re.escape(literal)
        for operator, variables, literal in re.findall(r"\{([+#./;?&]?)([^}]+)\}|([^{]+)", template)
    )


def _expression_regex(operator: str, variables: str) -> str:
    first, separator, named, if_empty, safe = OPERATORS[operator]
    triplets = r"%[Cc]3%[Bb][Cc]|%[0-9A-Fa-f]{2}"
    each = []
    for variable in variables.split(","):
        name, _, at_most = variable.rstrip("*").partition(":")

        def unit(more: str) -> str:
            return rf"(?:{triplets}|[0-9A-Za-z\-._~{re.escape(safe + more)}])"

        if variable.endswith("*"):
            each.append(unit("=" + separator) + ("+" if named else "*"))
            continue
        value = unit("") + "{0," + at_most + "}" if at_most else unit(",") + "*"
        if named:
            value = f"{re.escape(name)}={value}" if if_empty else f"{re.escape(name)}(?:={value})?"
        each.append(value)
    # Each may be missing: whichever is there first decides what stands before it.
    ways = []
    for number, value in enumerate(each):
        rest = "".join(f"(?:{re.escape(separator)}{later})?" for later in each[number + 1 :])
        ways.append(re.escape(first) + value + rest)
    return "(?:" + "|".join(ways) + ")?"


TOPICS = st.lists(st.sampled_from([*"abc/?#&=,;.1<", "%20", "%C3%BC", "%", "é", "a=", "b=", "list="]), max_size=7).map(
    "".join
)


@given(TEMPLATES, TOPICS)
def test_nothing_else_matches(template: str, topic: str) -> None:
    assert matches(template, topic) == (re.fullmatch(as_regex(template), topic) is not None)


@given(TEMPLATES, VALUES, TOPICS, st.integers(0, 30))
def test_nothing_else_matches_near_by(template: str, values: dict[str, Value], piece: str, place: int) -> None:
    """The same of topics that nearly match."""
    topic = expand(template, {name: "ab" if isinstance(value, str) else ["a", "b"] for name, value in values.items()})
    topic = topic[:place] + piece + topic[place + 1 :]
    assert matches(template, topic) == (re.fullmatch(as_regex(template), topic) is not None)


@given(st.text() | st.text(st.sampled_from("{}+#/?a,*:1%2")), st.text())
def test_never_raises(template: str, topic: str) -> None:
    parsed = parse(template)
    if parsed is not None:
        assert parsed.matches(Topic(topic)) in (True, False)
        assert parsed.text == template


# -- what it costs -------------------------------------------------------------------------------


def lines_run(call: Callable[[], Any]) -> int:
    """How many lines of Python ``call`` executes."""
    count = 0

    def trace(_frame: Any, event: str, _arg: Any) -> Any:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


HOSTILE = {
    "many variables": "{a}" * MAX_VARIABLES + "!",
    "many parted": "{a}a" * MAX_VARIABLES + "!",
    "many of one expression": "{a" + ",a" * (MAX_VARIABLES - 1) + "}!",
    "many lists": "{+a*}" * MAX_VARIABLES + "!",
    "many prefixes": "{a:9999}" * MAX_VARIABLES + "!",
    "many names": "{?a*" + ",a*" * (MAX_VARIABLES - 1) + "}!",
    "a long name": "{?" + "a" * 2000 + "}",
    "a long literal": "{a}" + "a" * 2000 + "!",
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("unit", ["a", "a=", "?a=1&", "%C3%BC", "%", "é"])
def test_the_steps_are_the_templates(name: str, unit: str) -> None:
    """Whatever the topic; a regular expression would try more ways than there are atoms."""
    template = parse(HOSTILE[name])
    assert template is not None
    topic = Topic((unit * MAX_TOPIC_LENGTH)[: MAX_TOPIC_LENGTH - 1] + "!")
    _ = topic.any  # what is made ready once for a topic is counted below
    assert lines_run(lambda: template.matches(topic)) < 160 * MAX_VARIABLES + 10 * len(template.text)


@pytest.mark.parametrize("unit", ["a", "%C3%BC", "%", "é", "a%4"])
def test_making_a_topic_ready_is_linear(unit: str) -> None:
    def cost(length: int) -> int:
        topic = Topic((unit * length)[:length])
        return lines_run(lambda: topic.any)

    assert cost(4000) <= 2.1 * cost(2000)


@pytest.mark.parametrize("unit", ["{", "{a", "{a}", "a", "%41", "{a,", "}", "{a.", "{%41"])
def test_parsing_is_linear(unit: str) -> None:
    def cost(length: int) -> int:
        return lines_run(lambda: parse((unit * length)[:length] + "{"))

    assert cost(1000) <= 2.1 * cost(500) + 10
