"""The log of ``twistd hardhttp``: to where twistd would write it, in the format and from the level that is asked for.

twistd asks the application for an observer before it makes its own. Where it was told to use another (``--logger``,
``--syslog``) that is left alone, and then neither format nor level is ours to choose.

SIGUSR1 begins a new file, as with twistd's own. Where there is none it changes nothing: its default would end the
process, and who rotates logs may send it to every process of a group.
"""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any

from twisted.python import usage
from twisted.python.logfile import LogFile

from hardhttp.ops.logs import FORMATS, LEVELS, Logs
from hardhttp.tap.ownedfiles import make_owned
from hardhttp.tap.signals import let_pass

__all__ = ["SharedLogFile", "check_log", "make_logs"]


def check_log(options: Mapping[str, Any]) -> None:
    """Raises ``usage.UsageError`` for a format or a level that is none."""
    for name, known in (("log-format", FORMATS), ("log-level", LEVELS)):
        if options[name] not in known:
            raise usage.UsageError(f"--{name} is {options[name]}; it must be one of {', '.join(known)}")


class SharedLogFile(LogFile):
    """twistd's log file, for several processes: a successor and who drains write one, and neither over the other's."""

    def _openFile(self) -> None:
        super()._openFile()
        fileno = self._file.fileno()
        fcntl.fcntl(fileno, fcntl.F_SETFL, fcntl.fcntl(fileno, fcntl.F_GETFL) | os.O_APPEND)

    def begin_anew(self) -> None:
        """Rotate; after somebody else has moved the file away, open a new one."""
        if os.path.exists(self.path):
            self.rotate()
        else:
            self.reopen()


def make_logs(options: Any, reactor: Any) -> Logs | None:
    """The log, for the process that twistd's own options (``options.parent``) describe; else ``None``."""
    twistd = options.parent
    if twistd is None:
        return None
    if twistd.get("logger") or twistd.get("syslog"):
        let_pass(signal.SIGUSR1, "the log has no file of ours", reactor)
        return None
    path = twistd.get("logfile")
    if twistd.get("nodaemon") and path in (None, "", "-"):
        file: Any = sys.stdout
        let_pass(signal.SIGUSR1, "the log has no file of ours", reactor)
    elif path == "-":
        return None  # twistd says that a daemon cannot
    else:
        make_owned(path or "twistd.log", 0o666, twistd)
        file = SharedLogFile.fromFullPath(path or "twistd.log")
        if not signal.getsignal(signal.SIGUSR1):  # what twistd does with its own

            def rotate(number: int, frame: object) -> None:
                reactor.callFromThread(file.begin_anew)

            signal.signal(signal.SIGUSR1, rotate)
    worker = None if options.place is None else options.place.number
    return Logs(file, reactor, options["log-format"], options["log-level"], worker)
