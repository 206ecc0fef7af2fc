"""hardhttp: ``/echo`` and ``/crowd`` over WebSocket, with callbacks; every limit at its default."""

from __future__ import annotations

from twisted.internet import reactor

import hardhttp
from benchmarks.messages import HELLO, HELLO_PATH
from benchmarks.servers.hardhttp_tree import description, fail
from benchmarks.servers.options import parse
from benchmarks.servers.twisted_run import run
from hardhttp.web.socketgroup import WebSocketGroup


def main() -> None:
    options = parse()
    everyone = WebSocketGroup(reactor)
    router = hardhttp.Router()
    router.get(HELLO_PATH)(lambda request: HELLO)
    router.mount("/echo", hardhttp.WebSocketResource(on_message=lambda socket, message: socket.send(message)))
    router.mount(
        "/crowd",
        hardhttp.WebSocketResource(
            on_connect=everyone.add, on_message=lambda socket, message: everyone.broadcast(message)
        ),
    )
    site = hardhttp.Site(router, reactor=reactor)
    hardhttp.listen(reactor, description(options), site).addErrback(fail)
    run(reactor, options)


if __name__ == "__main__":
    main()
