"""A post as bytes: a line of JSON, and its body behind it."""

from __future__ import annotations

import json

from hardhttp.interfaces import Kind, Post

__all__ = ["pack", "unpack"]


def pack(post: Post) -> bytes:
    head = (post.node, post.number, post.kind, post.names, post.id, post.private, post.key, post.published_at)
    return json.dumps(head, separators=(",", ":")).encode("ascii") + b"\n" + post.body


def unpack(packed: bytes) -> Post:
    """Raises ``ValueError`` for what ``pack`` did not make."""
    head, _, body = packed.partition(b"\n")
    try:
        node, number, kind, names, id, private, key, published_at = json.loads(head)
        return Post(node, number, Kind(kind), tuple(names), body, id, private, key, published_at)
    except (TypeError, AttributeError) as error:
        raise ValueError(f"that is no post: {error}") from None
