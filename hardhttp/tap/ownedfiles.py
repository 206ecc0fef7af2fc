"""Files that are made before twistd gives up its privileges, and are written after.

With ``--uid`` twistd starts as root, and a log that root has made cannot be opened again by the user it becomes: not at
SIGHUP, not by a worker or a successor. So a file that is not there yet is made in that user's name. One that is there
is let be, and links are not followed: a directory may be the user's own, and what it links to is not.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

__all__ = ["make_owned"]


def make_owned(path: str, mode: int, twistd: Mapping[str, Any] | None) -> None:
    """Make ``path`` for the user of ``--uid`` among ``twistd``'s own options, if there is one and no such file.

    Never raises: whoever opens the file next says what is wrong.
    """
    uid = None if twistd is None else twistd.get("uid")
    if uid is None or os.geteuid() != 0:
        return
    with suppress(OSError):
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        try:
            os.fchown(made, uid, -1)
        finally:
            os.close(made)
