"""Where the value of each option came from: its default, the file of ``--config``, or the command line.

The file's settings become words before those of the command line, so that both are read, checked and refused by
the same code; an option that the command line has too is not taken from the file. What is wrong with a value
names its option; ``blamed`` adds the file and the line it stands in.
"""

from __future__ import annotations

import getopt
import json
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
from twisted.python import usage

from hardhttp.ops.configfile import ConfigError, Kind, read_config
from hardhttp.tap.limitoptions import FIELDS, option_name, written
from hardhttp.tap.optiontable import OPTIONS

if TYPE_CHECKING:
    from hardhttp.tap.options import Options

__all__ = ["AT_ONCE", "ON_THE_COMMAND_LINE", "Sources", "effective", "gathered"]

ON_THE_COMMAND_LINE = frozenset({"config", "check", "self-test", "help", "version"})
# Whose value is shown to nobody.
SECRETS = frozenset({"admin-token", "mercure-publisher-key", "mercure-subscriber-key"})
# What SIGHUP puts in force besides the limits: all else is there once, and stays until the next start.
AT_ONCE = frozenset(
    {
        *("compress", "cors-credentials", "cors-origins", "hsts", "rate-limit", "redirect-to-https"),
        *("development", "early-hints-to", "log-level", "security-headers", "trusted-proxies"),
    }
)
SHOWN_FOR_A_SECRET = "***"
_COMMAND_LINE = "command line"
_URL_PASSWORD = re.compile(r"://[^@/]*@")
_OPTION = re.compile(r"--([a-z0-9][a-z0-9-]*)")
# Column of the remarks, where values are not longer.
REMARK_COLUMN = 48


def _kind(name: str) -> Kind:
    option = OPTIONS.get(name)
    if option is None:
        return Kind.VALUE  # a limit
    if option.value is None:
        return Kind.FLAG
    if option.several:
        return Kind.SEVERAL
    return Kind.JOINED if ",..." in option.value else Kind.VALUE


KINDS = {
    name: _kind(name)
    for name in (*OPTIONS, *(option_name(field) for field in FIELDS))
    if name not in ON_THE_COMMAND_LINE
}


@attrs.frozen
class Sources:
    """By an option's name, where its value stands; those that are not here have their defaults."""

    path: str | None
    lines: Mapping[str, int]
    on_command_line: frozenset[str]

    def of(self, name: str) -> str:
        """``default``, ``command line``, or the file with its line."""
        if name in self.on_command_line:
            return _COMMAND_LINE
        return f"{self.path}, line {self.lines[name]}" if name in self.lines else "default"

    def blamed(self, message: str) -> str:
        """``message`` with the place of the first option of the file that it names."""
        for name in _OPTION.findall(message):
            if name in self.lines:
                return f"{self.of(name)}: {message}"
        return message


def gathered(options: usage.Options, words: list[str], directory: str = "") -> tuple[list[str], Sources]:
    """All words there are, those of the file first, and where they came from. Raises ``usage.UsageError``.

    A relative ``--config`` is in ``directory``.
    """
    try:
        given = {name.lstrip("-"): value for name, value in getopt.getopt(words, options.shortOpt, options.longOpt)[0]}
    except getopt.error:
        given = {}  # parseOptions says what is wrong with them
    path = given.get("config")
    if path is None:
        return words, Sources(None, {}, frozenset(given))
    path = os.path.join(directory, path)
    try:
        settings = read_config(path, KINDS, ON_THE_COMMAND_LINE)
    except ConfigError as error:
        raise usage.UsageError(f"--config: {error}") from None
    taken = [setting for setting in settings if setting.name not in given]
    lines = {setting.name: setting.line for setting in taken}
    return [*(word for setting in taken for word in setting.words), *words], Sources(path, lines, frozenset(given))


# -- what is in force ---------------------------------------------------------------------------


def effective(options: Options) -> str:
    """Every option with its value and where that came from, as a configuration file would say it.

    Secrets are not shown, but for where they are kept (``env:``, ``file:``).
    """
    lines = []
    for name in KINDS:
        value = _shown(name, options.given[name])
        text = f"# {name} is not set" if value is None else f"{name} = {value}"
        source = options.sources.of(name)
        lines.append(text if value is None and source == "default" else f"{text:<{REMARK_COLUMN}}  # {source}")
    return "\n".join([*lines, ""])


def _shown(name: str, value: Any) -> str | None:
    kind = KINDS[name]
    if kind is Kind.FLAG:
        return "true" if value else "false"
    field = next((field for field in FIELDS if option_name(field) == name), None)
    if field is not None:
        return json.dumps(written(field, value))
    if value is None:
        return None
    if kind is Kind.SEVERAL:
        items = ["=".join(item) if isinstance(item, tuple) else item for item in value]
        items = items or ([OPTIONS[name].value] if name == "listen" else [])
        return json.dumps(items, ensure_ascii=False)
    return json.dumps(_masked(name, str(value)), ensure_ascii=False)


def _masked(name: str, text: str) -> str:
    if name in SECRETS and not text.startswith(("env:", "file:")):
        return SHOWN_FOR_A_SECRET
    return _URL_PASSWORD.sub(f"://{SHOWN_FOR_A_SECRET}@", text)
