"""The repository's own rules, held by reading its source.

The order of imports is that of the design: ``errors, limits, interfaces`` below ``wire`` below
``net`` below ``web`` below ``sse`` and ``ops`` below ``tap`` below the plugin, with ``stores``,
``brokers`` and ``client`` at the side. An import counts wherever it stands: in a function, under
``TYPE_CHECKING``, or as a name given to ``import_module``. ``hardhttp/__init__.py`` is exempt, since
re-exporting is all it does.

Each rule is a function from a tree to complaints, and is first shown to complain about a tree
that breaks it.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# What a request passes through on its way to a tree of resources and back; all else is built on it.
CORE = {
    "wire": {"__init__", "body", "deadlines", "grammar", "head", "response"},
    "net": {
        *("__init__", "channel", "connection", "drain", "ledger", "outbound", "phase", "poller", "port", "reaper"),
        *("refusal", "server", "statistics", "tls", "tracker", "upgrade"),
    },
    "web": {
        *("__init__", "body", "handling", "headers", "lazy", "request", "responding", "service", "site", "streaming"),
    },
}
# What is common to HTTP/1.1, TLS and HTTP/2.
CORE_LINES = 3_800

BASE = {"errors", "limits", "interfaces", "units"}
SIDE = {"stores", "brokers", "client"}  # they see less than those who use them, so no circle can form
PLUGIN = "the plugin"

# What each part may import, besides itself. A part that is not listed may not exist.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": BASE,
    "limits": BASE,
    "interfaces": BASE,
    "units": BASE,
    "wire": {"errors", "limits"},  # interfaces are of Twisted, and wire is free of it
    "net": {*BASE, "wire"},
    "web": {*BASE, *SIDE, "wire", "net"},
    "sse": {*BASE, *SIDE, "wire", "net", "web"},
    "ops": {*BASE, *SIDE, "wire", "net", "web"},
    "remote": BASE,
    "stores": {*BASE, "remote"},
    "brokers": {*BASE, "remote"},
    "client": {*BASE, "wire", "net"},
    "tap": {*BASE, *SIDE, "wire", "net", "web", "sse", "ops"},
    "soak": {*BASE, *SIDE, "wire", "net", "web", "sse", "ops", "tap"},
    "testing": {*BASE, *SIDE, "wire", "net", "web", "sse", "ops"},
    PLUGIN: {"tap"},
}
NOT_IN_WIRE = {"twisted", "time"}
CLOCKS = {"time.time", "time.time_ns", "datetime.datetime.now", "datetime.datetime.utcnow"}
# These read the wall when they are given no time.
DATES = {"formatdate", "datetimeToString"}
# Functions that import what their first argument names.
IMPORTERS = {"import_module", "__import__", "namedAny", "namedModule", "namedObject"}


# -- reading -----------------------------------------------------------------------------------


def sources(root: Path) -> list[Path]:
    return sorted([*root.glob("hardhttp/**/*.py"), *root.glob("twisted/**/*.py")])


@cache
def nodes_in(text: str) -> tuple[ast.AST, ...]:
    """The module first; each text is parsed once for all rules."""
    return tuple(ast.walk(ast.parse(text)))


def nodes(path: Path) -> tuple[ast.AST, ...]:
    return nodes_in(path.read_text("utf-8"))


def part_of(path: Path, root: Path) -> str | None:
    """The part of the package a file belongs to; None for the package's own ``__init__``."""
    parts = path.relative_to(root).with_suffix("").parts
    if parts[0] != "hardhttp":
        return PLUGIN
    return None if parts[1] == "__init__" else parts[1]


def imported(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    """Each name a file imports, in full, with its line: ``from a import b`` gives ``a.b``."""
    package = path.relative_to(root).parent.parts
    for node in nodes(path):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Call) and node.args:
            first = node.args[0]
            if called(node) in IMPORTERS and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield node.lineno, first.value


def called(node: ast.Call) -> str | None:
    """The last part of the called function's name."""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)


def at_module_level(tree: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: all but the bodies of functions."""
    for node in ast.iter_child_nodes(tree):
        yield node
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            yield from at_module_level(node)


# -- rules -------------------------------------------------------------------------------------


def against_the_order(root: Path) -> list[str]:
    complaints = []
    for path in sources(root):
        part = part_of(path, root)
        if part is None:
            continue
        where = path.relative_to(root)
        if part not in MAY_IMPORT:
            complaints.append(f"{where}: {part} has no place in the order")
            continue
        for line, name in imported(path, root):
            top, _, rest = name.partition(".")
            if top in NOT_IN_WIRE and part == "wire":
                complaints.append(f"{where}:{line}: wire imports {name}")
            if top != "hardhttp" or rest == "__version__":
                continue
            target = rest.partition(".")[0]
            if target != part and target not in MAY_IMPORT[part]:
                complaints.append(f"{where}:{line}: {part} imports {name}")
    return complaints


def reactor_at_module_level(root: Path) -> list[str]:
    complaints = []
    for path in sources(root):
        for node in at_module_level(nodes(path)[0]):
            if isinstance(node, ast.Import):
                found = any(alias.name == "twisted.internet.reactor" for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                found = node.module == "twisted.internet.reactor" or (
                    node.module == "twisted.internet" and any(alias.name == "reactor" for alias in node.names)
                )
            else:
                continue
            if found:
                complaints.append(f"{path.relative_to(root)}:{node.lineno}: imports the reactor at module level")
    return complaints


def wall_clocks(root: Path) -> list[str]:
    """Time is an argument named ``clock``; whoever reads the wall by himself cannot be tested."""
    complaints = []
    for path in sources(root):
        known: dict[str, str] = {}  # a local name -> what it stands for
        for node in nodes(path):
            if isinstance(node, ast.Import):
                known.update((a.asname or a.name, a.name) for a in node.names if a.name in ("time", "datetime"))
            elif isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
                known.update((a.asname or a.name, f"{node.module}.{a.name}") for a in node.names)
        for node in nodes(path):
            if isinstance(node, ast.Call) and not node.args and called(node) in DATES:
                complaints.append(f"{path.relative_to(root)}:{node.lineno}: {called(node)} without a time")
            if not isinstance(node, (ast.Name, ast.Attribute)) or not known:
                continue
            head, *rest = ast.unparse(node).split(".")
            name = ".".join([known.get(head, ""), *rest])
            if name in CLOCKS:
                complaints.append(f"{path.relative_to(root)}:{node.lineno}: reads {name}")
    return complaints


def code_lines(text: str) -> int:
    """Lines that are neither blank, nor comment alone, nor docstring."""
    skipped: set[int] = set()
    for node in nodes_in(text):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                skipped.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines = enumerate(map(str.strip, text.splitlines()), 1)
    return sum(1 for number, line in lines if line and not line.startswith("#") and number not in skipped)


def core_lines(root: Path) -> dict[str, int]:
    return {
        part: sum(
            code_lines(path.read_text("utf-8")) for path in root.glob(f"hardhttp/{part}/*.py") if path.stem in names
        )
        for part, names in CORE.items()
    }


def there(part: str, name: str) -> bool:
    return (ROOT / "hardhttp" / part / f"{name}.py").is_file()


def left_open(root: Path) -> list[str]:
    mark = re.compile(r"\b(TO" + r"DO|FIX" + "ME)\\b")  # in pieces, lest it finds itself
    suffixes = {".py", ".md", ".rst", ".toml", ".ini", ".cfg", ".yaml", ".css", ".js", ".html", ".sh"}
    folders = ["hardhttp", "twisted", "tests", "docs", "examples", "benchmarks", "newsfragments"]
    paths = [p for p in root.iterdir() if p.is_file()] + [p for f in folders for p in (root / f).rglob("*")]
    return [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted(paths)
        if path.suffix in suffixes and "_build" not in path.parts and mark.search(text := path.read_text("utf-8"))
        for number, line in enumerate(text.splitlines(), 1)
        if mark.search(line)
    ]


def init_under_twisted(root: Path) -> list[str]:
    return [str(path.relative_to(root)) for path in (root / "twisted").rglob("__init__.py*")]


# -- the repository keeps them -----------------------------------------------------------------


def test_repository() -> None:
    """All rules in one test: each file is looked through once for them."""
    assert sources(ROOT)
    rules = against_the_order, reactor_at_module_level, wall_clocks, left_open, init_under_twisted
    assert {rule.__name__: found for rule in rules if (found := rule(ROOT))} == {}


def test_core_is_read_in_an_afternoon() -> None:
    missing = [f"{part}/{name}" for part, names in CORE.items() for name in names if not there(part, name)]
    assert missing == []
    lines = core_lines(ROOT)
    assert sum(lines.values()) <= CORE_LINES, lines


@pytest.mark.slow
def test_importing_installs_no_reactor() -> None:
    """A program chooses its reactor after it has imported us; so no module of ours may settle it."""
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sources(ROOT)
        if path.name != "__main__.py"
    ]
    script = (
        "import importlib, sys\n"
        f"for name in {modules!r}:\n"
        "    importlib.import_module(name)\n"
        "    assert 'twisted.internet.reactor' not in sys.modules, name\n"
        "print(len(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# -- and the rules can tell --------------------------------------------------------------------


def tree(root: Path, **files: str) -> Path:
    """A repository of the given files: ``net__port`` stands for ``hardhttp/net/port.py``."""
    for name, text in files.items():
        path = root / "hardhttp" / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("errors", "import hardhttp.wire.head"),
        ("wire__head", "from hardhttp.net import tracker"),
        ("wire__head", "from hardhttp.interfaces import IStreamingResource"),
        ("wire__head", "import time"),
        ("wire__head", "from time import monotonic"),
        ("wire__head", "from twisted.python import log"),
        ("wire__head", "def f():\n    import twisted"),
        ("net__port", "from hardhttp.web.site import Site"),
        ("net__port", "from hardhttp import web"),
        ("net__port", "from hardhttp import Site"),
        ("net__port", "import hardhttp"),
        ("net__port", "from ..web import site"),
        ("net__port", "from .. import web"),
        ("net__port", "if TYPE_CHECKING:\n    from hardhttp.web.site import Site"),
        ("net__port", "def f():\n    from hardhttp.sse import hub"),
        ("net__port", "import importlib\nimportlib.import_module('hardhttp.web.site')"),
        ("net__port", "from twisted.python.reflect import namedAny\nnamedAny('hardhttp.web.site.Site')"),
        ("web__site", "from hardhttp.sse import EventStream"),
        ("web__site", "import hardhttp.tap"),
        ("sse__hub", "import hardhttp.ops.metrics"),
        ("ops__status", "import hardhttp.sse.hub"),
        ("stores__memory", "import hardhttp.wire.cookies"),
        ("brokers__redis", "import hardhttp.stores"),
        ("client__agent", "import hardhttp.web.request"),
        ("tap", "import hardhttp.testing"),
        ("ops__health", "import hardhttp.soak.probes"),
        ("helpers", ""),
    ],
)
def test_order_is_seen_broken(tmp_path: Path, name: str, text: str) -> None:
    assert len(against_the_order(tree(tmp_path, **{name: text + "\n"}))) == 1


def test_plugin_sees_tap_alone(tmp_path: Path) -> None:
    plugin = tmp_path / "twisted" / "plugins" / "hardhttp_plugin.py"
    plugin.parent.mkdir(parents=True)
    plugin.write_text("import hardhttp.tap\n")
    assert against_the_order(tmp_path) == []
    plugin.write_text("import hardhttp.web\n")
    assert len(against_the_order(tmp_path)) == 1


def test_order_is_seen_kept(tmp_path: Path) -> None:
    kept = tree(
        tmp_path,
        __init__="from hardhttp.web.site import Site\nfrom hardhttp.soak import x",
        errors="import enum",
        limits="from hardhttp.errors import LimitError",
        interfaces="from twisted.web.resource import IResource",
        wire__head="import httptools\nfrom hardhttp.wire.grammar import token\nfrom hardhttp.limits import Limits",
        net__port="from twisted.internet import tcp\nfrom hardhttp.wire import head\nfrom . import tracker",
        web__site="from hardhttp import __version__\nfrom ..net import port\nfrom hardhttp import net",
        sse__hub="from hardhttp.web.request import Request\nfrom hardhttp.brokers.memory import Broker",
        tap="import hardhttp.sse.hub\nimport hardhttp.ops.metrics",
        soak____main__="import hardhttp.client.agent",
    )
    assert against_the_order(kept) == []


@pytest.mark.parametrize(
    "text",
    [
        "from twisted.internet import reactor",
        "from twisted.internet import defer, reactor as r",
        "import twisted.internet.reactor",
        "from twisted.internet.reactor import callLater",
        "try:\n    from twisted.internet import reactor\nexcept ImportError:\n    pass",
        "class A:\n    from twisted.internet import reactor",
    ],
)
def test_reactor_is_seen(tmp_path: Path, text: str) -> None:
    assert len(reactor_at_module_level(tree(tmp_path, net__port=text))) == 1


def test_reactor_in_a_function_is_allowed(tmp_path: Path) -> None:
    text = "def f():\n    from twisted.internet import reactor\nasync def g():\n    import twisted.internet.reactor"
    assert reactor_at_module_level(tree(tmp_path, tap=text)) == []


@pytest.mark.parametrize(
    "text",
    [
        "import time\ntime.time()",
        "import time as t\ndef f(now=t.time): ...",
        "from time import time\ntime()",
        "from time import time_ns as now\nnow()",
        "import datetime\ndatetime.datetime.now()",
        "from datetime import datetime\ndatetime.now()",
        "from email.utils import formatdate\nformatdate(usegmt=True)",
        "from twisted.web import http\nhttp.datetimeToString()",
    ],
)
def test_wall_clock_is_seen(tmp_path: Path, text: str) -> None:
    assert len(wall_clocks(tree(tmp_path, net__reaper=text))) == 1


def test_other_clocks_are_not_the_wall(tmp_path: Path) -> None:
    text = "from time import monotonic\nmonotonic()\nself.time.time()\nclock.seconds()\nlocal.now()\nformatdate(now)"
    assert wall_clocks(tree(tmp_path, net__reaper=text)) == []


def test_core_is_counted(tmp_path: Path) -> None:
    grown = tree(tmp_path, wire__head="x\n" * 2000, web__site="x\n" * 1801, web__cors="x\n" * 9, sse__c="x\n" * 9)
    assert core_lines(grown) == {"wire": 2000, "net": 0, "web": 1801}
    assert sum(core_lines(grown).values()) > CORE_LINES


def test_what_is_left_open_is_seen(tmp_path: Path) -> None:
    tree(tmp_path, net__a="# TO" + "DO: close it\n# TO" + "DOS is a word\n", web__b="x = 1  # FIX" + "ME\n")
    (tmp_path / "README.md").write_text("TO" + "DO\n")
    assert len(left_open(tmp_path)) == 3


def test_init_under_twisted_is_seen(tmp_path: Path) -> None:
    (tmp_path / "twisted" / "plugins").mkdir(parents=True)
    assert init_under_twisted(tmp_path) == []
    (tmp_path / "twisted" / "plugins" / "__init__.py").write_text("")
    assert len(init_under_twisted(tmp_path)) == 1
