"""A chat: people sign in, write, send pictures, and see at once what the others do.

    python examples/chat/app.py [PORT]
    twistd -n hardhttp --app examples.chat.app:root

Everything is in memory or in a temporary directory, and bounded: the last messages and pictures, the people.
What a larger program would change: the people to a database, the sessions to ``--session-store sqlite:PATH``.
"""

import hashlib
import hmac
import os
import secrets
import sys
import tempfile
from collections import deque
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.threads import deferToThread
from twisted.web.server import NOT_DONE_YET

from hardhttp import Compressed, EventStream, Response, Router, SecurityHeaders, Site, StaticFiles, abort, listen
from hardhttp.web.csrf import csrf_protect, csrf_token

MAX_MESSAGES = 200
MAX_PEOPLE = 10_000
MAX_TEXT = 1000
MAX_PICTURE_BYTES = 2 * 1024 * 1024
# What a picture begins with, and the name's end that it is kept under.
PICTURES = {b"\x89PNG\r\n\x1a\n": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif"}


class People:
    """Who may sign in. Passwords are kept as scrypt makes them, each with a salt of its own."""

    def __init__(self):
        self._known = {}

    async def sign_in(self, name, password):
        """Whether ``password`` is right for ``name``. Who is not known yet is from now on."""
        salt, kept = self._known.get(name, (None, None))
        new = kept is None
        if new:
            if len(self._known) >= MAX_PEOPLE:
                abort(503, "No more people fit in here.")
            salt = os.urandom(16)
        # A thread: scrypt takes some 50 ms on purpose, and the reactor has others to serve.
        made = await deferToThread(hashlib.scrypt, password.encode(), salt=salt, n=2**14, r=8, p=1)
        if new:
            _, kept = self._known.setdefault(name, (salt, made))
        return hmac.compare_digest(made, kept)


class Chat:
    """The last messages, their pictures, and whoever listens."""

    def __init__(self, directory, clock):
        self.pictures = Path(directory)
        self.messages = deque(maxlen=MAX_MESSAGES)
        self.events = EventStream(clock)
        self._number = 0

    def say(self, name, text, picture=None):
        self._number += 1
        message = {"id": self._number, "name": name, "text": text, "picture": picture}
        if len(self.messages) == MAX_MESSAGES and self.messages[0]["picture"]:
            (self.pictures / self.messages[0]["picture"]).unlink(missing_ok=True)
        self.messages.append(message)
        self.events.publish(message, event="message", id=str(self._number))
        return message

    def keep_picture(self, upload):
        """Keep an upload under a name of ours; what it is, its first bytes say, not its sender."""
        start = upload.file.read(8)
        upload.file.seek(0)
        ending = next((end for magic, end in PICTURES.items() if start.startswith(magic)), None)
        if ending is None:
            abort(415, "A picture is a PNG, a JPEG or a GIF.")
        if upload.size > MAX_PICTURE_BYTES:
            abort(413, f"A picture has at most {MAX_PICTURE_BYTES:,} bytes.")
        name = secrets.token_hex(8) + ending
        upload.save_to(self.pictures / name)
        return name


def make_router(chat, people):
    router = Router()
    api = router.group("/api")

    api.before(csrf_protect)

    @api.post("/sign-in")
    async def sign_in(request):
        given = request.json()
        name, password = str(given.get("name", "")).strip(), str(given.get("password", ""))
        if not 1 <= len(name) <= 40 or not 8 <= len(password) <= 200:
            abort(400, "A name has 1 to 40 characters, a password 8 to 200.")
        if not await people.sign_in(name, password):
            abort(403, "This name is taken, and the password is another.")
        request.session.rotate()  # an id from before the sign-in is worth nothing after it
        request.session["name"] = name
        return {"name": name, "csrf": csrf_token(request)}

    @api.get("/me")
    def me(request):
        return {"name": request.session.get("name"), "csrf": csrf_token(request)}

    members = api.group("")

    @members.before
    def signed_in(request):
        request.user_data["name"] = request.session.get("name") or abort(401, "Please sign in.")

    @members.post("/sign-out")
    def sign_out(request):
        request.session.abandon()

    @members.get("/messages")
    def messages(request):
        return list(chat.messages)

    @members.post("/messages")
    def say(request):
        form = request.form()
        text = form.get("text", "").strip()
        upload = form.files.get("picture")
        picture = chat.keep_picture(upload) if upload is not None and upload.size else None
        if not picture and not 1 <= len(text) <= MAX_TEXT:
            abort(400, f"A message has 1 to {MAX_TEXT:,} characters.")
        return Response.json(chat.say(request.user_data["name"], text[:MAX_TEXT], picture), status=201)

    @members.get("/events")
    def events(request):
        return chat.events.render(request) or NOT_DONE_YET

    pictures = StaticFiles(chat.pictures, cache_control=[("*", "private, max-age=86400, immutable")])
    members.mount("/pictures", pictures)
    router.mount("/", StaticFiles(Path(__file__).parent / "static"))
    return router


def root():
    """The whole application as one resource."""
    directory = tempfile.TemporaryDirectory(prefix="chat-")
    reactor.addSystemEventTrigger("after", "shutdown", directory.cleanup)
    router = make_router(Chat(directory.name, reactor), People())
    return SecurityHeaders(
        Compressed(router),
        content_security_policy="default-src 'self'; img-src 'self' data:; form-action 'self'; frame-ancestors 'none'",
    )


if __name__ == "__main__":
    number = int(sys.argv[1]) if sys.argv[1:] else 8080
    site = Site(root(), reactor=reactor)
    listening = listen(reactor, f"tcp:{number}:interface=127.0.0.1", site)
    listening.addCallback(lambda port: print(f"http://127.0.0.1:{port.getHost().port}/", flush=True))
    reactor.run()
