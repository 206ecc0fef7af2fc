"""What the applications in Python have in common: what they answer, and how they are started."""

from __future__ import annotations

import sys

__all__ = ["HELLO", "LARGE", "port"]

HELLO = b"Hello, World!"
# More than the sockets of both ends take between them.
LARGE = b"0123456789abcdef" * (1 << 20)


def port() -> int:
    """The port that was given on the command line."""
    if len(sys.argv) != 2 or not sys.argv[1].isdigit():
        sys.exit(f"usage: {sys.argv[0]} PORT")
    return int(sys.argv[1])
