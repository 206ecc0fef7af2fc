"""HTTP/2: a page, its style, a stream of events and a WebSocket, all on one connection.

    python examples/http2.py
    curl --http2 --cacert PATH https://localhost:PORT/           what it prints; or open it in a browser
    nghttp -nv https://localhost:PORT/                           shows what is pushed with the page

Nothing here is about HTTP/2 but the hint: which protocol is spoken is between the client and the site.
"""

import sys
from pathlib import Path
from socket import gethostname

from twisted.internet import reactor
from twisted.internet.defer import inlineCallbacks
from twisted.internet.task import LoopingCall

from hardhttp import EventStream, Hints, Link, Response, Router, Site, WebSocketResource, listen
from hardhttp.net.selfsigned import development_certificate

PAGE = """<!doctype html><meta charset=utf-8><title>one connection</title><link rel=stylesheet href=/app.css>
<p>This came by <b>{protocol}</b>. It is <b id=time>...</b>, and an echo says <b id=echo>...</b>
<script>
new EventSource("/time").onmessage = event => document.getElementById("time").textContent = event.data;
const socket = new WebSocket("wss://" + location.host + "/echo");
socket.onopen = () => socket.send("hello");
socket.onmessage = message => document.getElementById("echo").textContent = message.data;
</script>
"""

router = Router()
time = EventStream(reactor)


@router.get("/")
def page(request):
    return Response.html(PAGE.format(protocol=request.clientproto.decode()))


@router.get("/app.css")
def style(request):
    return Response(content_type="text/css", body=b"b { color: teal }\n")


def echo(socket, message):
    socket.send(f"{message}, by {socket.request.clientproto.decode()}")


router.mount("/time", time)
router.mount("/echo", WebSocketResource(on_message=echo))
# Browsers are told of the style by 103 before the page is made, and clients that take pushes are pushed it.
root = Hints(router, {"/": [Link("/app.css", "preload", {"as": "style"})]})


@inlineCallbacks
def main():
    folder = Path(sys.argv[2] if sys.argv[2:] else "development-certificate")
    certificate, _ = development_certificate(folder, gethostname(), reactor.seconds())
    site = Site(root, http2=True)  # True: fail where the h2 library is not installed
    secure = yield listen(reactor, f"tls:{sys.argv[1] if sys.argv[1:] else 8443}:{folder}:interface=127.0.0.1", site)
    port = secure.getHost().port
    print(f"https://localhost:{port}/ --cacert {certificate.files.certificate}", flush=True)
    # The same site in the clear: HTTP/2 for who knows beforehand (curl --http2-prior-knowledge), HTTP/1.1 for others.
    plain = yield listen(reactor, "tcp:0:interface=127.0.0.1", site)
    print(f"http://127.0.0.1:{plain.getHost().port}/", flush=True)
    LoopingCall(lambda: time.publish(f"{reactor.seconds():.0f} seconds")).start(1)
    reactor.addSystemEventTrigger("before", "shutdown", site.drain)


if __name__ == "__main__":
    main()
    reactor.run()
