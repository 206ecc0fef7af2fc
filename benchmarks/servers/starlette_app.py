"""Starlette, a route for each path; run by uvicorn."""

from __future__ import annotations

import os

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from benchmarks.messages import BIG_PATH, HELLO, HELLO_PATH, POST_PATH, USER
from benchmarks.servers.options import big

__all__ = ["app"]

BIG = big()


async def hello(request: Request) -> Response:
    return PlainTextResponse(HELLO)


async def count(request: Request) -> Response:
    return PlainTextResponse(b"%d" % len(await request.body()))


async def large(request: Request) -> Response:
    return Response(BIG)


async def user(request: Request) -> Response:
    return JSONResponse({**USER, "id": request.path_params["number"]})


app = Starlette(
    routes=[
        Route(HELLO_PATH, hello),
        Route(POST_PATH, count, methods=["POST"]),
        Route(BIG_PATH, large),
        Route("/users/{number:int}", user),
        Mount("/files", StaticFiles(directory=os.environ.get("FILES", "."))),
    ],
)
