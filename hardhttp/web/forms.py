"""``request.args``: a query and a form, as ``twisted.web`` gives them, with bounds."""

from __future__ import annotations

from typing import IO, Any
from urllib.parse import unquote_to_bytes

from multipart import MultipartError, MultipartParser, parse_options_header

from hardhttp.errors import LimitFault, PeerFault, Reason
from hardhttp.limits import Limits

__all__ = ["parse_form", "parse_query"]

Args = dict[bytes, list[bytes]]


def _too_many(limits: Limits) -> LimitFault:
    return LimitFault(413, Reason.FORM_FIELDS, f"more than {limits.max_form_fields} fields")


def parse_query(query: bytes, limits: Limits) -> Args:
    """Names and values of ``a=1&b=2``, in order, empty values kept.

    Raises ``LimitFault`` past ``max_form_fields``, before anything is decoded.
    """
    if query.count(b"&") >= limits.max_form_fields:
        raise _too_many(limits)
    args: Args = {}
    for pair in query.split(b"&"):
        if pair:
            name, _, value = pair.replace(b"+", b" ").partition(b"=")
            args.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value))
    return args


def parse_form(content_type: bytes, content: IO[bytes], limits: Limits) -> Args:
    """The fields of a form body; nothing for another content type.

    Raises ``PeerFault`` (400) for a malformed one and ``LimitFault`` (413) past ``max_form_fields``.
    """
    kind, options = parse_options_header(content_type.decode("latin-1"))
    if kind == "application/x-www-form-urlencoded":
        return parse_query(content.read(), limits)
    if kind != "multipart/form-data":
        return {}
    args: Args = {}
    bound: dict[str, Any] = {
        "part_limit": limits.max_form_fields + 1,
        "memory_limit": limits.max_body_bytes + 1,
        "disk_limit": limits.max_body_bytes + 1,
        "spool_limit": limits.spool_bytes,
    }
    try:
        for count, part in enumerate(MultipartParser(content, options.get("boundary", ""), **bound)):
            if count >= limits.max_form_fields:
                raise _too_many(limits)
            if part.name:
                args.setdefault(part.name.encode("utf-8"), []).append(part.raw)
            part.close()
    except MultipartError as error:
        raise PeerFault(400, Reason.BAD_FORM, "the multipart form is malformed") from error
    return args
