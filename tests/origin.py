"""An origin server to ask: a tree with one resource for every way to answer, and its answers.

``Origin.ask`` sends a message whole, byte by byte and in two at every place, each over a connection
of its own, and insists that what came back, and what the application saw, was the same every time.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from hardhttp.limits import Limits
from hardhttp.testing import Peer, Response, Rig, every_split

__all__ = ["GET", "Answer", "Origin", "get", "origin", "post"]

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def get(*lines: bytes, target: bytes = b"/", method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    """A request for ``target`` with these fields behind Host."""
    fields = b"".join(line + b"\r\n" for line in lines)
    return b"%s %s HTTP/%s\r\nHost: a\r\n%s\r\n" % (method, target, version, fields)


def post(body: bytes, *lines: bytes, target: bytes = b"/echo", version: bytes = b"1.1") -> bytes:
    """A POST whose framing, if any, is in ``lines``."""
    return get(*lines, target=target, method=b"POST", version=version) + body


@attrs.frozen
class Seen:
    """A request as the application saw it."""

    method: bytes
    target: bytes
    body: bytes = b""
    headers: tuple[tuple[bytes, tuple[bytes, ...]], ...] = ()

    def get(self, name: bytes) -> tuple[bytes, ...]:
        return dict(self.headers).get(name, ())


@attrs.frozen
class Answer:
    """What came of a message: the responses without the interim ones, whether the server has said its
    last byte, and what the application saw."""

    responses: tuple[Response, ...]
    ended: bool
    seen: tuple[Seen, ...]

    @property
    def statuses(self) -> list[int]:
        return [response.status for response in self.responses]

    @property
    def last(self) -> Response:
        return self.responses[-1]

    def is_refused(self, status: int, reason: str) -> bool:
        """Whether this is one refusal: a whole response, the end of the connection, and nothing served."""
        (response,) = self.responses
        return (
            (response.status, response.reason, response.get(b"connection")) == (status, reason, b"close")
            and response.complete
            and self.ended
            and not self.seen
        )


class Tree(Resource):
    """The whole site; the first path segment says how to answer."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self.requests: list[Any] = []
        self.later: list[Any] = []

    def render(self, request: Any) -> Any:
        headers = tuple((name.lower(), tuple(values)) for name, values in request.requestHeaders.getAllRawHeaders())
        self.seen.append(Seen(request.method, request.uri, request.content.read(), tuple(sorted(headers))))
        request.content.seek(0)
        self.requests.append(request)
        answer = getattr(self, "answer_" + request.postpath[0].decode("latin-1"), None)
        return super().render(request) if answer is None else answer(request)

    def render_GET(self, request: Any) -> bytes:
        return b"hello"

    def answer_echo(self, request: Any) -> bytes:
        return request.content.read()  # type: ignore[no-any-return]

    def answer_status(self, request: Any) -> bytes:
        request.setResponseCode(int(request.postpath[1]))
        return b"body"

    def answer_stream(self, request: Any) -> int:
        """A body whose length is not said."""
        for piece in (b"one, ", b"two", b""):
            request.write(piece)
        request.finish()
        return NOT_DONE_YET

    def answer_sized(self, request: Any) -> int:
        request.setHeader(b"Content-Length", b"8")
        return self.answer_stream(request)

    def answer_later(self, request: Any) -> int:
        """Answered when the test calls ``Origin.answer``."""
        self.later.append(request)
        return NOT_DONE_YET

    def answer_deferred(self, request: Any) -> Deferred[bytes]:
        later: Deferred[bytes] = Deferred()
        self.later.append(later)
        return later

    def answer_half(self, request: Any) -> int:
        """Fails when half is said."""
        request.write(b"half")
        raise RuntimeError("half")

    def answer_framed(self, request: Any) -> bytes:
        """An application that frames by itself, wrongly."""
        request.responseHeaders.setRawHeaders(b"Transfer-Encoding", [b"chunked"])
        request.responseHeaders.setRawHeaders(b"Content-Length", [b"1"])
        return b"body"

    def answer_bye(self, request: Any) -> bytes:
        request.setHeader(b"Connection", b"close")
        return b"bye"

    def answer_etag(self, request: Any) -> bytes:
        return b"" if request.setETag(b'"x"') else b"body"

    def answer_modified(self, request: Any) -> bytes:
        return b"" if request.setLastModified(784_111_777) else b"body"


def verdict(response: Response) -> Response:
    """A refusal is its status and its reason; the sentence for whoever debugs the client may vary, and its id does."""
    request_id = response.get(b"x-request-id")
    if request_id is None:
        return response
    drop = (b"x-request-id", b"content-length") if response.reason is not None else (b"x-request-id",)
    headers = tuple((name, value) for name, value in response.headers if name not in drop)
    body = b"" if response.reason is not None else response.body.replace(request_id, b"")
    return attrs.evolve(response, headers=headers, body=body)


class Origin:
    """The tree above behind a ``Rig``."""

    def __init__(self, rig: Rig, tree: Tree) -> None:
        self.rig = rig
        self.tree = tree

    def connect(self) -> Peer:
        return self.rig.connect()

    def _once(self, pieces: list[bytes], methods: tuple[bytes, ...]) -> Answer:
        self.tree.seen = []
        peer = self.rig.connect()
        peer.send(*pieces)
        responses = tuple(verdict(response) for response in peer.responses(*methods) if response.status >= 200)
        ended = peer.ended
        peer.reset()
        self.tree.requests.clear()
        return Answer(responses, ended, tuple(self.tree.seen))

    def ask(self, data: bytes, *methods: bytes) -> Answer:
        """What comes of ``data``, however it is split; ``methods`` are those of its requests, if not GET."""
        first, *others = [self._once(pieces, methods) for pieces in every_split(data)]
        for other in others:
            assert other == first
        return first


@contextmanager
def origin(**limits: Any) -> Iterator[Origin]:
    """An origin server under these limits, while the block runs."""
    tree = Tree()
    with Rig(tree, limits=Limits(**limits)) as rig:
        yield Origin(rig, tree)
