"""Starlette, a route for each path; run by uvicorn."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from benchmarks.messages import BIG_PATH, HELLO, HELLO_PATH, POST_PATH
from benchmarks.servers.options import big

__all__ = ["app"]

BIG = big()


async def hello(request: Request) -> Response:
    return PlainTextResponse(HELLO)


async def count(request: Request) -> Response:
    return PlainTextResponse(b"%d" % len(await request.body()))


async def large(request: Request) -> Response:
    return Response(BIG)


app = Starlette(
    routes=[Route(HELLO_PATH, hello), Route(POST_PATH, count, methods=["POST"]), Route(BIG_PATH, large)],
)
