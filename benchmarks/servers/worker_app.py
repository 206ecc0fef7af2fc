"""A tree whose leaf has work to do: a document is encoded as JSON, as often as the path says."""

from __future__ import annotations

import json

from twisted.web.resource import Resource

from benchmarks.messages import HELLO

__all__ = ["WORK_PATH", "root"]

WORK_PATH = "/work"
_DOCUMENT = [
    {"id": number, "name": f"name {number}", "tags": ["a", "b", "c"], "price": number / 7} for number in range(40)
]


class Hello(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-type", b"text/plain")
        return HELLO


class Work(Resource):
    isLeaf = True

    def render_GET(self, request):
        request.setHeader(b"content-type", b"text/plain")
        for _ in range(int(request.postpath[0])):
            json.dumps(_DOCUMENT)
        return HELLO


root = Resource()
root.putChild(b"a", Hello())
root.putChild(WORK_PATH.encode().lstrip(b"/"), Work())
