"""A chat in one room: who comes is told what was said last, and what anybody says goes to everybody."""

import sys
from collections import deque

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.static import Data

from hardhttp import Site, WebSocketResource
from hardhttp.web.socketgroup import WebSocketGroup

PAGE = b"""<!doctype html><meta charset=utf-8><title>Chat</title>
<form><input autofocus placeholder="Say something"></form><pre id=log></pre>
<script>
const log = document.getElementById("log"), field = document.querySelector("input");
let socket;
function open() {
  socket = new WebSocket(location.href.replace("http", "ws") + "chat");
  socket.onmessage = message => { log.textContent += message.data + "\\n"; };
  socket.onclose = () => setTimeout(open, 1000 + 2000 * Math.random());
}
open();
document.querySelector("form").onsubmit = event => {
  event.preventDefault();
  socket.send(field.value);
  field.value = "";
};
</script>
"""

MAX_LETTERS = 500


class Room:
    def __init__(self):
        self.everyone = WebSocketGroup(reactor)
        self.last = deque(maxlen=20)
        self.guests = 0

    async def chat(self, socket):
        self.guests += 1
        name = f"guest {self.guests}"
        for line in self.last:
            await socket.send(line)
        self.everyone.add(socket)
        async for said in socket:
            if isinstance(said, bytes) or len(said) > MAX_LETTERS:
                socket.close(1008, f"text of up to {MAX_LETTERS} letters, please")
                break
            line = f"{name}: {said}"
            self.last.append(line)
            self.everyone.broadcast(line)


if __name__ == "__main__":
    root = Resource()
    root.putChild(b"", Data(PAGE, "text/html; charset=utf-8"))
    root.putChild(b"chat", WebSocketResource(Room().chat))
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, Site(root), interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()
