"""``twisted.web``'s stock error pages, in whose place ours are shown.

A ``Resource`` that has no child of a name answers with a page of ``twisted.web``'s. What an application
puts there itself, with words of its own, is left as it is.
"""

from __future__ import annotations

from typing import Any

from twisted.web import pages as twisted_pages
from twisted.web.resource import Resource, _UnsafeForbiddenResource, _UnsafeNoResource

from hardhttp.web.pages import error_page

__all__ = ["STOCK_PAGES", "ErrorResource", "ours"]


class ErrorResource(Resource):
    """A leaf that answers everything with one status."""

    isLeaf = True

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status

    def render(self, request: Any) -> bytes:
        return error_page(request, self.status)


_MADE: type = type(twisted_pages.notFound())
STOCK_PAGES = frozenset({_UnsafeNoResource, _UnsafeForbiddenResource, _MADE})

# What they say when nobody told them what to say; static.File's is among them.
_WORDS = {
    ("No Such Resource", "Sorry. No luck finding that resource."): ErrorResource(404),
    ("No Such Resource", "File not found."): ErrorResource(404),
    ("Forbidden Resource", "Sorry, resource is forbidden."): ErrorResource(403),
}


def ours(resource: Any) -> Any:
    """The page to show in place of one of ``STOCK_PAGES``."""
    made = type(resource) is _MADE
    words = (resource._brief, resource._detail) if made else (resource.brief, resource.detail)
    return _WORDS.get(words, resource)
