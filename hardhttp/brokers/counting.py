"""What both brokers count alike: where a post belongs, what it weighs, how names and numbers are made."""

from __future__ import annotations

import secrets
import string

from hardhttp.interfaces import OVERHEAD_BYTES, Kind, Post

__all__ = ["EPOCH_STEP", "PAGE_POSTS", "new_name", "size_of", "topic_of"]

PAGE_POSTS = 64
# A new epoch's numbers begin so far above all that was ever given: further than any node can be ahead of another.
EPOCH_STEP = 1_000_000
# What a post costs a broker beside its bytes and names: its place in the order, and in its topic.
POST_BYTES = OVERHEAD_BYTES


def new_name() -> str:
    """Eight letters that nobody else has."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(8))


def topic_of(post: Post) -> str:
    """The topic whose bounds an event fills; all that is directed, and all commands, share one without a name."""
    return post.names[0] if post.kind is Kind.EVENT else ""


def size_of(post: Post) -> int:
    """What keeping it is counted as."""
    return POST_BYTES + len(post.body) + sum(map(len, post.names)) + len(post.id or "") + len(post.key or "")
