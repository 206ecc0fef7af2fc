"""What the programs written in Python share: their command line and the view of their garbage."""

from __future__ import annotations

import argparse
import collections
import gc
import json
import sys

__all__ = ["big", "objects_report", "parse", "without_collector"]


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Read ``PORT [--tls CERTIFICATE KEY] [--max-connections N] [--no-gc] [--stock]``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
    parser.add_argument("--max-connections", type=int, help="instead of the server's default, if it has any")
    parser.add_argument("--no-gc", action="store_true", help="run without the garbage collector")
    parser.add_argument("--stock", action="store_true", help="hardhttp: on Twisted's own port")
    return parser.parse_args(argv)


def without_collector() -> None:
    """Collect what importing left, then switch the collector off."""
    gc.collect()
    gc.disable()


def objects_report(package: str) -> bytes:
    """Collect once and say, as JSON, what only the collector could free.

    ``unreachable``: all of it. ``ours``: by type, what belongs to ``package``. ``alive``: the
    twenty commonest types of ``package`` still in use.
    """
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        gc.collect()
        found = [type(each) for each in gc.garbage]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
    alive = collections.Counter(_name(type(each)) for each in gc.get_objects() if _of(type(each), package))
    report = {
        "unreachable": len(found),
        "types": dict(collections.Counter(map(_name, found)).most_common(20)),
        "ours": dict(collections.Counter(_name(kind) for kind in found if _of(kind, package))),
        "alive": dict(alive.most_common(20)),
        "collector": gc.isenabled(),
        "modules": len(sys.modules),
    }
    return json.dumps(report).encode()


def _name(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _of(kind: type, package: str) -> bool:
    return str(kind.__module__).split(".", 1)[0] == package


def big() -> bytes:
    """The body of ``/big``."""
    from benchmarks.messages import BIG_BYTES

    return b"x" * BIG_BYTES
