"""The requests that are sent and the answers that are expected, the same for every server."""

from __future__ import annotations

__all__ = [
    "BIG_BYTES",
    "BIG_PATH",
    "BROWSER_HEADERS",
    "EVENTS_PATH",
    "FAIL_PATH",
    "HELLO",
    "HELLO_PATH",
    "HOLDS_PATH",
    "LARGE_FILE",
    "LARGE_FILE_BYTES",
    "OBJECTS_PATH",
    "POST_BYTES",
    "POST_PATH",
    "PUBLISH_PATH",
    "READ_PATH",
    "SMALL_FILE",
    "SMALL_FILE_BYTES",
    "USER",
    "USER_JSON",
    "USER_PATH",
    "bare_get",
    "file_bytes",
    "is_whole_hello",
]

HELLO = b"Hello, World!"
HELLO_PATH = "/a/b"
# A leaf that asks for its arguments, headers and cookies, and answers later.
READ_PATH = "/a/read"
POST_PATH = "/post"
POST_BYTES = 1024 * 1024
# More than loopback's socket buffers take from a server whose client does not read.
BIG_PATH = "/big"
BIG_BYTES = 4 * 1024 * 1024
# Raises, in the tree of resources.
FAIL_PATH = "/fail"
# Collects garbage and says what it found.
OBJECTS_PATH = "/objects"

# A stream of events; what is posted goes to all who listen; the longest hold of the loop, since it was asked for.
EVENTS_PATH = "/events"
PUBLISH_PATH = "/publish"
HOLDS_PATH = "/holds"

# A document of a few fields, as an API gives it.
USER_PATH = "/users/7"
USER = {"id": 7, "name": "Ada Lovelace", "admin": False, "tags": ["mathematics", "engines"], "since": 1833}
USER_JSON = b'{"id":7,"name":"Ada Lovelace","admin":false,"tags":["mathematics","engines"],"since":1833}'
# Files, below a directory that is made for the run.
SMALL_FILE = "small.bin"
SMALL_FILE_BYTES = 1024
LARGE_FILE = "large.bin"
LARGE_FILE_BYTES = 10 * 1024 * 1024

# What a browser sends beside Host: ten fields.
BROWSER_HEADERS = {
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
    "Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "Accept-Language": "en-GB,en;q=0.7,de;q=0.3",
    "Accept-Encoding": "gzip, deflate, br, zstd",
    "Connection": "keep-alive",
    "Cookie": "theme=dark; consent=1; visited=2026-11-21",
    "Upgrade-Insecure-Requests": "1",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Site": "same-origin",
}


def file_bytes(size: int) -> bytes:
    """A file's content: letters, so that a wrong piece of it is seen."""
    line = bytes(range(65, 91)) * 2
    return (line * (size // len(line) + 1))[:size]


def is_whole_hello(answer: bytes) -> bool:
    """Whether ``answer`` has come to the end of a hello, with a length or in chunks."""
    return answer.endswith((HELLO, b"\r\n0\r\n\r\n"))


def bare_get(path: str, extra: str = "") -> bytes:
    """A GET with Host and nothing else, but for ``extra`` lines, each ended by CRLF."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{extra}\r\n".encode()
