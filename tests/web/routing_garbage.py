"""Requests of every kind through a router, without the garbage collector; then what it finds, as JSON.

A program of its own, because pytest-twisted keeps every Failure's traceback alive.
"""

from __future__ import annotations

import gc
import json
import types
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogBeginner
from twisted.web.resource import Resource
from twisted.web.template import tags

from hardhttp.errors import HTTPError
from hardhttp.testing import Rig
from hardhttp.web.response import Response
from hardhttp.web.routing import SKIP, Router
from tests.web.saying import Says, say

CLOCK = Clock()


def raises(request: Any, *_: Any, **__: Any) -> Any:
    raise KeyError("as it should")


async def raises_later(request: Any, *_: Any, **__: Any) -> Any:
    await deferLater(CLOCK, 1)
    raise KeyError("as it should")


async def answers_later(request: Any, **_: Any) -> Any:
    await deferLater(CLOCK, 1)
    return {"a": request.path.decode()}


async def pieces(request: Any) -> Any:
    for piece in (b"a", b"b"):
        await deferLater(CLOCK, 1)
        yield piece


async def none_later(*_: Any) -> None:
    await deferLater(CLOCK, 1)


def handlers(group: Any) -> None:
    group.get("/json/{id:int}/{more?}")(lambda request, id, more: {"id": id})
    group.get("/later")(answers_later)
    group.get("/raises")(raises)
    group.get("/raises-later")(raises_later)
    group.get("/fails")(lambda request: fail(ValueError("as it should")))
    group.get("/aborts")(lambda request: (_ for _ in ()).throw(HTTPError(410)))
    group.get("/nan")(lambda request: [float("nan")])
    group.get("/pieces")(pieces)
    group.get("/waits")(lambda request: Deferred())
    group.get("/response")(lambda request: Response.text("a"))
    group.get("/template")(lambda request: tags.p(succeed("a")))


def tree() -> Router:
    router, inner = Router(redirect_slashes=True), Router()
    handlers(router)
    hooked = router.group("/hooked")
    hooked.before(none_later)
    hooked.before(lambda request: SKIP)
    hooked.after(lambda request, response: response.headers.setRawHeaders("X-A", ["b"]))
    hooked.after(none_later)
    handlers(hooked)
    caught = router.group("/caught")
    caught.error(KeyError)(lambda request, error: {"error": str(error)})
    caught.error(404)(lambda request, error: "none")
    caught.error(ValueError)(raises_later)
    handlers(caught)
    broken = router.group("/broken")
    broken.after(raises)
    handlers(broken)
    handlers(inner)
    inner.mount("/below", Resource())
    inner.mount("/says", Says(raises))
    router.mount("/inner", inner)
    return router


NAMES = (
    *("json/5", "later", "raises", "raises-later", "fails", "aborts", "nan", "pieces", "waits", "response", "later/"),
    "template",
)
PLACES = ("", "/hooked", "/caught", "/broken", "/inner")
OTHERS = ("/none", "/inner/below/a", "/inner/says", "/caught/none", "/hooked/none")
PATHS = [f"{place}/{name}" for place in PLACES for name in NAMES] + [*OTHERS]


def ours(rig: Rig) -> None:
    for path in PATHS:
        for method in (b"GET", b"HEAD", b"POST", b"OPTIONS"):
            for leaves in (False, True):
                peer = rig.connect()
                peer.send(say(method, path.encode()))
                if not leaves:
                    for _ in range(8):
                        CLOCK.advance(1)
                        rig.clock.turn()
                peer.reset()
                peer.transport.abortConnection()
                rig.clock.turn()
    rig.peers.clear()
    rig.flush()


def name_of(thing: object) -> str:
    if isinstance(thing, (types.FrameType, types.CoroutineType, types.GeneratorType, types.FunctionType)):
        code = next(c for n in ("f_code", "cr_code", "gi_code", "__code__") if (c := getattr(thing, n, None)))
        return f"{type(thing).__name__} of {code.co_qualname}"
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def main() -> None:
    globalLogBeginner.beginLoggingTo([lambda event: None], discardBuffer=True, redirectStandardIO=False)
    router = tree()
    with Rig(router) as rig:
        ours(rig)
        gc.collect()
        gc.disable()
        made = len(gc.get_objects())
        for _ in range(3):
            ours(rig)
        left = len(gc.get_objects()) - made
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found = Counter(map(name_of, gc.garbage))
        gc.set_debug(0)
        print(json.dumps({"found": found, "left": left}))


if __name__ == "__main__":
    main()
