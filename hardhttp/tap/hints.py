"""What ``--early-hints`` and ``--early-hints-to`` say, and what SIGHUP does about it."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from typing import Any

from twisted.logger import Logger
from twisted.python import usage

from hardhttp.web.hintrules import HintRules
from hardhttp.web.hints import POLICIES

__all__ = ["check_hints_to", "hint_rules", "read_again"]

_log = Logger(namespace="hardhttp")


def hint_rules(options: MutableMapping[str, Any]) -> HintRules | None:
    """The rules of the file, if there is one. Raises ``usage.UsageError``."""
    check_hints_to(options["early-hints-to"])
    path = options["early-hints"]
    if path is None:
        return None
    options["early-hints"] = path = os.path.abspath(path)  # twistd may go elsewhere, and SIGHUP comes later
    try:
        return HintRules.load(path)
    except (OSError, ValueError) as error:
        raise usage.UsageError(f"--early-hints {path}: {getattr(error, 'strerror', None) or error}") from None


def check_hints_to(text: str) -> None:
    if text not in POLICIES:
        raise usage.UsageError(f"--early-hints-to is {text}; it must be auto, always or never")


def read_again(rules: HintRules, path: str) -> None:
    """Put what the file says now in the place of what it said; a file that is wrong changes nothing."""
    try:
        rules.replace(HintRules.load(path))
    except (OSError, ValueError) as error:
        _log.warn("early hints stay as they are: {path}: {error}", path=path, error=error)
    else:
        _log.info("early hints for {count} paths: {path}", count=len(rules), path=path)
