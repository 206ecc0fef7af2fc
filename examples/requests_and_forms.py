"""What a request is asked: its query, JSON, a form with files, and a form as it arrives.

curl 'http://127.0.0.1:8080/search?q=tea&page=2'
curl -F title=Tea -F picture=@tea.jpg http://127.0.0.1:8080/notes
curl -F backup=@large.iso http://127.0.0.1:8080/checksums
"""

import hashlib
import sys

from twisted.internet import reactor

from hardhttp import Limits, Site
from hardhttp.web.routing import Router

router = Router()

PAGE = """<!doctype html>
<title>A note</title>
<form method=post action=/notes enctype=multipart/form-data>
<p><input name=title placeholder=Title> <input type=file name=picture> <button>Keep</button>
</form>
"""


@router.get("/")
def page(request):
    return PAGE


# [query]
@router.get("/search")
def search(request):
    words = request.query.get("q", "")
    page = request.query.get_int("page", 1, low=1, high=1000)  # anything else is answered 400, and says why
    return {"words": words, "page": page, "tags": request.query.getlist("tag")}


# [json]
@router.post("/orders")
def order(request):
    order = request.json()  # 415 for another type, 400 for what is no JSON
    return {"received": order}


# [form]
@router.post("/notes")
async def note(request):
    form = await request.load_form()  # or request.form(), which takes no turns
    pictures = [
        {"name": picture.safe_filename, "type": picture.content_type, "bytes": picture.size}
        for picture in form.files.getlist("picture")
    ]
    return {"title": form["title"], "pictures": pictures}  # without a title: 400


# [stream]
@router.post("/checksums", stream=True)
async def checksums(request):
    found = {}
    async for part in request.stream_form():
        if part.filename is None:
            continue
        checksum = hashlib.sha256()
        async for piece in part:  # the client sends no faster than this takes it
            checksum.update(piece)
        found[part.safe_filename] = checksum.hexdigest()
    return found


# [end]
if __name__ == "__main__":
    site = Site(router, limits=Limits(max_body_bytes=1 << 30))
    port = reactor.listenTCP(int(sys.argv[1]) if sys.argv[1:] else 8080, site, interface="127.0.0.1")
    print(f"http://127.0.0.1:{port.getHost().port}/", flush=True)
    reactor.run()
