"""What the admin side looks at: one object, handed to whatever shows or judges it.

Only the server is always there. The hub is known by what it offers, for nothing here sees ``sse``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import attrs

from hardhttp.net.server import Server

if TYPE_CHECKING:
    from hardhttp.ops.logs import Logs
    from hardhttp.ops.sentinel import Sentinel
    from hardhttp.ops.stalls import StallWatch
    from hardhttp.web.sessions import Sessions

__all__ = ["Sources"]


@attrs.define
class Sources:
    """``hub`` is an ``EventHub``, ``logs`` what the log's level is set on; ``None`` for what is not there.

    ``others`` are servers beside the main one in this process: what they have open is no leak. Each of ``lacks`` says
    what is needed and not there, or ``None``.
    """

    server: Server
    sessions: Sessions | None = None
    hub: Any = None
    stalls: StallWatch | None = None
    sentinel: Sentinel | None = None
    logs: Logs | None = None
    others: list[Server] = attrs.Factory(list)
    lacks: list[Callable[[], str | None]] = attrs.Factory(list)
