"""The welcome page is whole by itself, and its policy allows what it holds and nothing else."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from html.parser import HTMLParser
from typing import Any

import attrs
import pytest
from twisted.web.resource import Resource, getChildForRequest
from twisted.web.test.requesthelper import DummyRequest

from hardhttp.limits import Limits
from hardhttp.tap.welcome import WelcomeResource

VOID = {"meta", "link", "br", "path"}


@pytest.fixture
def events() -> Resource:
    return Resource()


@pytest.fixture
def root(events: Resource) -> WelcomeResource:
    count = iter(range(10))
    return WelcomeResource(lambda: {"statistics": {"requests": next(count)}}, events)


def get(root: WelcomeResource, *path: bytes) -> tuple[DummyRequest, str]:
    request = DummyRequest(list(path))
    resource = getChildForRequest(root, request)
    return request, resource.render(request).decode("utf-8")


def header(request: DummyRequest, name: str) -> str:
    (value,) = request.responseHeaders.getRawHeaders(name)
    return value


class Page(HTMLParser):
    """Every tag of a page, its attributes, and what was left open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attributes]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attributes]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_whole(root: WelcomeResource) -> None:
    request, text = get(root, b"")
    assert header(request, "content-type") == "text/html; charset=utf-8"
    page = Page(text)
    assert page.open == []
    assert (page.tags.count("style"), page.tags.count("script"), page.tags.count("h1")) == (1, 1, 1)


def test_the_page_asks_for_nothing_from_elsewhere(root: WelcomeResource) -> None:
    _, text = get(root, b"")
    for tag, name, value in Page(text).attributes:
        if name in ("src", "href", "action", "data", "srcset", "poster"):
            assert value == "/figures" or value.startswith("data:"), (tag, name, value)
    assert re.findall(r"url\(|@import", text) == []
    assert set(re.findall(r'(?:fetch|EventSource)\("([^"]+)"\)', text)) == {"/figures", "/events"}


def test_the_policy_is_of_this_page(root: WelcomeResource) -> None:
    request, text = get(root, b"")
    policy = dict(part.strip().partition(" ")[::2] for part in header(request, "content-security-policy").split(";"))
    for tag in ("style", "script"):
        (content,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    assert "unsafe" not in header(request, "content-security-policy")
    # What such a policy would silently take away.
    assert [a for a in Page(text).attributes if a[1] == "style" or a[1].startswith("on")] == []


def test_every_limit_is_named_and_explained(root: WelcomeResource) -> None:
    _, text = get(root, b"")
    for field in attrs.fields(Limits):
        assert f'data-limit="{field.name}"' in text
        assert f"--{field.name.replace('_', '-')}<" in text
        assert html.escape(field.metadata["help"]) in text
    assert "<!--" not in text


def test_figures_are_made_anew(root: WelcomeResource) -> None:
    for expected in range(2):
        request, text = get(root, b"figures")
        assert header(request, "content-type") == "application/json"
        assert header(request, "cache-control") == "no-store"
        assert json.loads(text) == {"statistics": {"requests": expected}}


def test_nothing_is_sniffed_framed_or_referred(root: WelcomeResource) -> None:
    for path in (b"", b"figures"):
        request, _ = get(root, path)
        assert header(request, "x-content-type-options") == "nosniff"
        assert header(request, "referrer-policy") == "no-referrer"
        assert "default-src 'none'" in header(request, "content-security-policy")


def test_events_is_the_stream_it_was_given(root: WelcomeResource, events: Any) -> None:
    assert getChildForRequest(root, DummyRequest([b"events"])) is events


def test_there_is_nothing_else(root: WelcomeResource) -> None:
    request, _ = get(root, b"welcome.html")
    assert request.responseCode == 404
