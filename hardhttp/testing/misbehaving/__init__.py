"""A peer that misbehaves, with which anyone can try a client.

    from hardhttp.testing.misbehaving import CATALOGUE, serve

    peer = serve(reactor, "body-trickled")     # 127.0.0.1, a free port
    ...                                        # ask for peer.url
    print(peer.connections.open)
    await peer.stop()

``CATALOGUE`` maps names to behaviours, each of which says what it does and what a sound client makes of it. For
clients that are not in Python, or not in this process, there is a command:

    python -m hardhttp.testing.misbehaving --list
    python -m hardhttp.testing.misbehaving body-trickled

It is for tests: everything is on loopback, over real sockets, bounded in bytes and in time.
"""

from hardhttp.testing.misbehaving import answers, bodies, heads, http2, proxies, redirects, socks
from hardhttp.testing.misbehaving.catalogue import CATALOGUE, Behaviour, Role, behaviour
from hardhttp.testing.misbehaving.conversation import Asked, Conversation, Gone, answer
from hardhttp.testing.misbehaving.peer import Connections, Peer, serve

__all__ = [
    "CATALOGUE",
    "Asked",
    "Behaviour",
    "Connections",
    "Conversation",
    "Gone",
    "Peer",
    "Role",
    "answer",
    "answers",
    "behaviour",
    "bodies",
    "heads",
    "http2",
    "proxies",
    "redirects",
    "serve",
    "socks",
]
