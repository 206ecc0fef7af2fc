"""One published update: what a hub keeps, replays and sends.

Its shape belongs to the interface of a history, so that a history can be written without the hub.
"""

from __future__ import annotations

from hardhttp.interfaces import OVERHEAD_BYTES, Update

__all__ = ["OVERHEAD_BYTES", "Update"]
