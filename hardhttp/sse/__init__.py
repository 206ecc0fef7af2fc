"""Server-Sent Events."""

from hardhttp.sse.stream import EventStream

__all__ = ["EventStream"]
