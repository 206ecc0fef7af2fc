"""The page that shows a directory.

It shows what would be served and nothing else. It runs no script and loads nothing; to sort is to follow
a link. It looks at a bounded number of entries and says so when there are more, so a directory of a
million files costs no more than one of ``max_listed``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from email.utils import formatdate
from html import escape
from itertools import islice
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import attrs

from hardhttp.web.fileroot import is_name

__all__ = ["MAX_LISTED", "listing_page"]

# A look at each takes some microseconds, all of them in one turn of the reactor.
MAX_LISTED = 1000
# Names that are hidden are looked at too: of them no more than this many times as many.
MAX_HIDDEN_SHARE = 4

_PAGE = """\
<!doctype html>
<html lang=en><meta charset=utf-8><meta name=viewport content="width=device-width">
<title>{title}</title>
<style>
:root{{color-scheme:light dark;--ink:#1d2733;--quiet:#66717f;--paper:#f6f7f9;--rule:#d8dee6;--link:#1f5fa8}}
@media(prefers-color-scheme:dark){{:root{{--ink:#e4e9ef;--quiet:#93a0ae;--paper:#14191f;--rule:#2c353f;--link:#7db8f2}}}}
body{{font:1rem/1.6 system-ui,sans-serif;color:var(--ink);background:var(--paper);margin:0}}
main{{max-width:56rem;margin:3rem auto;padding:0 1.25rem}}h1{{font-size:1.4rem;overflow-wrap:anywhere}}
table{{border-collapse:collapse;width:100%}}
th,td{{text-align:left;padding:.3rem .5rem;border-bottom:1px solid var(--rule)}}
th+th,td+td{{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums;color:var(--quiet)}}
td:first-child{{overflow-wrap:anywhere}}a{{color:var(--link);text-decoration:none}}a:hover{{text-decoration:underline}}
p{{color:var(--quiet)}}
@media(max-width:30rem){{tr>:nth-child(3){{display:none}}}}
</style>
<main><h1>{title}</h1>
<table><thead><tr>{heads}<tbody>
{rows}</table>{more}</main>
"""
_ROW = '<tr><td><a href="./{href}">{name}</a><td>{size}<td>{date}\n'
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
_COLUMNS = ("name", "size", "date")
_UNITS = ("KiB", "MiB", "GiB", "TiB")


@attrs.frozen(slots=True)
class _Entry:
    name: str
    is_directory: bool
    size: int
    modified: float

    def key(self, column: str) -> Any:
        return {"name": self.name.casefold(), "size": self.size, "date": self.modified}[column], self.name


def listing_page(
    request: Any,
    descriptor: int,
    *,
    root: bool,
    dotfiles: bool,
    shows: Callable[[bytes], bool],
    max_listed: int,
) -> bytes:
    """A page of the directory open as ``descriptor``; sets its headers on any ``IRequest``.

    ``root`` leaves out the way up. ``shows`` is asked about links, by their name.
    """
    entries, more = _entries(descriptor, dotfiles, shows, max_listed)
    query = request.uri.partition(b"?")[2].decode("ascii", "replace")
    column, reverse = _order(query)
    entries.sort(key=lambda entry: entry.key(column), reverse=reverse)
    entries.sort(key=lambda entry: not entry.is_directory)
    rows = "" if root else _ROW.format(href="../", name="..", size="", date="")
    rows += "".join(map(_row, entries))
    title = escape(unquote_to_bytes(request.path).decode("utf-8", "replace"))
    note = f"<p>Only the first {max_listed} entries are shown." if more else ""
    heads = "".join(_head(name, column, reverse) for name in _COLUMNS)
    request.setHeader(b"Content-Type", b"text/html; charset=utf-8")
    request.setHeader(b"Cache-Control", b"no-cache")
    request.setHeader(b"Content-Security-Policy", _POLICY)
    page = _PAGE.format(title=title, heads=heads, rows=rows, more=note).encode("utf-8", "replace")
    if request.method == b"HEAD":
        request.setHeader(b"Content-Length", b"%d" % len(page))
        return b""
    return page


def _entries(
    descriptor: int, dotfiles: bool, shows: Callable[[bytes], bool], max_listed: int
) -> tuple[list[_Entry], bool]:
    """What may be shown, at most ``max_listed``, and whether there is more."""
    entries: list[_Entry] = []
    seen = 0
    with os.scandir(descriptor) as found:
        for entry in islice(found, max_listed * MAX_HIDDEN_SHARE):
            seen += 1
            name = os.fsencode(entry.name)
            if not is_name(name, dotfiles):
                continue
            try:
                if entry.is_symlink() and not shows(name):
                    continue
                status = entry.stat()
            except OSError:
                continue  # it has gone, or its link leads nowhere
            is_directory = stat.S_ISDIR(status.st_mode)
            if not is_directory and not stat.S_ISREG(status.st_mode):
                continue
            if len(entries) == max_listed:
                return entries, True
            size = 0 if is_directory else status.st_size
            entries.append(_Entry(entry.name, is_directory, size, status.st_mtime))
    return entries, seen == max_listed * MAX_HIDDEN_SHARE


def _order(query: str) -> tuple[str, bool]:
    """``?sort=size`` or, the other way round, ``?sort=-size``."""
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if name == "sort" and value.removeprefix("-") in _COLUMNS:
            return value.removeprefix("-"), value.startswith("-")
    return "name", False


def _head(name: str, column: str, reverse: bool) -> str:
    sort = f"-{name}" if name == column and not reverse else name
    mark = ("", " &#9650;", " &#9660;")[(name == column) + (name == column and reverse)]
    return f'<th><a href="?sort={sort}">{name.capitalize()}</a>{mark}'


def _row(entry: _Entry) -> str:
    slash = "/" if entry.is_directory else ""
    date = formatdate(max(0.0, entry.modified), usegmt=True)[5:-7] if entry.modified < 253_402_300_800 else ""
    return _ROW.format(
        href=quote(entry.name, safe="") + slash,
        name=escape(entry.name) + slash,
        size="" if entry.is_directory else _size(entry.size),
        date=date,
    )


def _size(size: int) -> str:
    """In the largest unit that leaves something before the point."""
    if size < 1024:
        return f"{size} B"
    step = min((size.bit_length() - 1) // 10, len(_UNITS))
    return f"{size / 1024**step:.1f} {_UNITS[step - 1]}"
