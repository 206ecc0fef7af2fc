"""What a client has done, as counts that only grow: fit for a metric each."""

from __future__ import annotations

from collections import Counter

__all__ = ["ClientStatistics"]


class ClientStatistics:
    """``failed`` counts requests by the reason they failed for, ``closed`` connections by theirs."""

    __slots__ = ("bytes_in", "bytes_out", "closed", "failed", "opened", "requests", "reused")

    def __init__(self) -> None:
        self.requests = 0  # asked for
        self.opened = 0  # connections made
        self.reused = 0  # requests over a connection that had served before
        self.bytes_in = 0
        self.bytes_out = 0
        self.failed: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    def snapshot(self) -> dict[str, int | dict[str, int]]:
        """All counts by name; those by reason as mappings."""
        return {
            "requests": self.requests,
            "opened": self.opened,
            "reused": self.reused,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "failed": dict(self.failed),
            "closed": dict(self.closed),
        }
