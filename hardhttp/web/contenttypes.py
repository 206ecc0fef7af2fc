"""Content types by file name: a table of our own, the same on every machine.

The standard library's ``mimetypes`` reads the machine's ``mime.types``, so that what a site says of its
files would depend on where it runs. Text is UTF-8: a file in another encoding needs an entry of its own
in ``content_types``. What has no entry is ``application/octet-stream``, never text or HTML.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["OCTETS", "TYPES", "content_type", "type_table"]

OCTETS = b"application/octet-stream"

# RFC 9239 has JavaScript as text/javascript. JSON is UTF-8 by definition (RFC 8259, 8.1); the parameter
# does no harm and helps those who look at it in a browser.
_TEXTS = {
    "text/html": "html htm",
    "text/css": "css",
    "text/javascript": "js mjs cjs",
    "text/plain": "txt text log conf ini cfg asc diff patch rst py c h toml",
    "text/markdown": "md markdown",
    "text/csv": "csv",
    "text/tab-separated-values": "tsv",
    "text/calendar": "ics",
    "text/vcard": "vcf",
    "text/vtt": "vtt",
    "text/xml": "xsl xslt",
    "application/json": "json map",
    "application/ld+json": "jsonld",
    "application/geo+json": "geojson",
    "application/manifest+json": "webmanifest",
    "application/xml": "xml",
    "application/xhtml+xml": "xhtml xht",
    "application/rss+xml": "rss",
    "application/atom+xml": "atom",
    "application/yaml": "yaml yml",
    "application/sql": "sql",
    "application/gpx+xml": "gpx",
    "image/svg+xml": "svg",
    "model/gltf+json": "gltf",
}
_OTHERS = {
    "image/png": "png",
    "image/apng": "apng",
    "image/jpeg": "jpg jpeg jpe jfif",
    "image/gif": "gif",
    "image/webp": "webp",
    "image/avif": "avif",
    "image/heic": "heic",
    "image/heif": "heif",
    "image/jxl": "jxl",
    "image/bmp": "bmp",
    "image/tiff": "tif tiff",
    "image/x-icon": "ico cur",
    "font/woff": "woff",
    "font/woff2": "woff2",
    "font/ttf": "ttf",
    "font/otf": "otf",
    "font/collection": "ttc",
    "application/vnd.ms-fontobject": "eot",
    "audio/mpeg": "mp3",
    "audio/mp4": "m4a",
    "audio/aac": "aac",
    "audio/flac": "flac",
    "audio/ogg": "ogg oga opus spx",
    "audio/wav": "wav",
    "audio/midi": "mid midi",
    "audio/webm": "weba",
    "video/mp4": "mp4 m4v",
    "video/webm": "webm",
    "video/ogg": "ogv",
    "video/quicktime": "mov qt",
    "video/mpeg": "mpg mpeg",
    "video/x-matroska": "mkv",
    "video/mp2t": "ts",
    "application/vnd.apple.mpegurl": "m3u8",
    "application/dash+xml": "mpd",
    "application/wasm": "wasm",
    "application/pdf": "pdf",
    "application/rtf": "rtf",
    "application/epub+zip": "epub",
    "application/zip": "zip",
    "application/gzip": "gz tgz",
    "application/zstd": "zst",
    "application/x-bzip2": "bz2",
    "application/x-xz": "xz",
    "application/x-tar": "tar",
    "application/x-7z-compressed": "7z",
    "application/vnd.rar": "rar",
    "application/java-archive": "jar",
    "application/vnd.android.package-archive": "apk",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "pptx",
    "application/vnd.oasis.opendocument.text": "odt",
    "application/vnd.oasis.opendocument.spreadsheet": "ods",
    "application/vnd.oasis.opendocument.presentation": "odp",
    "application/postscript": "ps eps ai",
    "application/vnd.sqlite3": "sqlite3",
    "model/gltf-binary": "glb",
}

# From a file name's extension, in lower case and without its dot, to the field's value.
TYPES: Mapping[bytes, bytes] = {
    extension.encode("ascii"): (name + parameter).encode("ascii")
    for table, parameter in ((_TEXTS, "; charset=utf-8"), (_OTHERS, ""))
    for name, extensions in table.items()
    for extension in extensions.split()
}


def type_table(additions: Mapping[str, str] | None) -> Mapping[bytes, bytes]:
    """``TYPES`` with an application's own: ``{".gcode": "text/x-gcode; charset=utf-8"}``.

    Raises ``ValueError`` for what cannot stand in a header.
    """
    if not additions:
        return TYPES
    table = dict(TYPES)
    for extension, value in additions.items():
        if not value.isascii() or not value.isprintable() or "/" not in value:
            raise ValueError(f"{value!r} is no content type (for {extension!r})")
        table[extension.lstrip(".").lower().encode("utf-8")] = value.encode("ascii")
    return table


def content_type(name: bytes, table: Mapping[bytes, bytes] = TYPES) -> bytes:
    """The type of a file of this name."""
    stem, dot, extension = name.rpartition(b".")
    return table.get(extension.lower(), OCTETS) if stem and dot else OCTETS
