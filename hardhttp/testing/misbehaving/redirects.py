"""Redirects with bodies, in chains and circles, and to where credentials must not go."""

from __future__ import annotations

from hardhttp.testing.misbehaving.catalogue import behaviour
from hardhttp.testing.misbehaving.conversation import Conversation, answer

CHAIN = 10
BODY = b"x" * 64 * 1024


def _redirect(where: str, body: bytes = BODY) -> bytes:
    return answer(body, b"Location: " + where.encode("ascii"), status=b"302 Found")


@behaviour()
async def redirect_chain(talk: Conversation) -> None:
    """Ten redirects, each with a body of 64 KiB; then a 200.

    A sound client reads or drops their bodies: it has one connection in use at any time, and none left behind.
    """
    while True:
        number = (await talk.request()).target.rpartition(b"/")[2]
        step = int(number) if number.isdigit() else 0
        talk.send(answer(b"arrived") if step >= CHAIN else _redirect(f"/{step + 1}"))


@behaviour()
async def redirect_loop(talk: Conversation) -> None:
    """A redirect with a body, to a page that redirects to itself.

    A sound client follows a bounded number, fails the request, and leaves no connection in use.
    """
    while True:
        await talk.request()
        talk.send(_redirect("/round"))


@behaviour()
async def redirect_with_endless_body(talk: Conversation) -> None:
    """A redirect whose body does not end; the page it leads to is there.

    A sound client reads a bounded part of it, closes the connection, and follows over another.
    """
    target = (await talk.request()).target
    if target.endswith(b"/there"):
        talk.send(answer(b"arrived"))
        await talk.silence()
    talk.send(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        await talk.send_all(b"%x\r\n%s\r\n" % (len(BODY), BODY))


@behaviour()
async def redirect_across_origins(talk: Conversation) -> None:
    """A redirect to another port, with a body; see what the request there carries.

    A sound client drops ``Authorization``, ``Cookie`` and ``Proxy-Authorization`` on the way (RFC 9110, 15.4).
    """
    where = talk.peer.elsewhere_url
    while True:
        await talk.request()
        talk.send(answer(b"arrived") if talk.elsewhere else _redirect(f"{where}there"))


@behaviour()
async def redirect_to_a_file(talk: Conversation) -> None:
    """A redirect to ``file:///etc/passwd``.

    A sound client follows ``http`` and ``https`` alone, and fails the request or gives out the redirect.
    """
    while True:
        await talk.request()
        talk.send(_redirect("file:///etc/passwd"))
