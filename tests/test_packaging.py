"""What would be installed, without building it; ``plugin_check.py`` builds and installs it."""

from __future__ import annotations

import ast
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What setup.py hands to ``setuptools.setup``."""
    seen: dict[str, Any] = {}
    monkeypatch.setattr(setuptools, "setup", lambda **given: seen.update(given))
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"), run_name="__main__")
    return seen


@pytest.mark.slow
def test_version_stands_in_one_place(metadata: dict[str, Any]) -> None:
    script = "import hardhttp; print(hardhttp.__version__)"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert metadata["version"] == done.stdout.strip()
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"])
    written = [
        path.name
        for path in [ROOT / "setup.py", ROOT / "pyproject.toml", ROOT / "docs" / "conf.py"]
        if f'"{metadata["version"]}"' in path.read_text("utf-8")
    ]
    assert written == []


def test_every_folder_with_python_is_a_package(metadata: dict[str, Any]) -> None:
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "hardhttp").rglob("*.py")}
    expected = {".".join(folder.parts) for folder in folders}
    assert set(metadata["packages"]) == expected | {"twisted.plugins"}


def test_the_plugin_is_all_there_is_under_twisted() -> None:
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "twisted").rglob("*.py")]
    assert files == ["twisted/plugins/hardhttp_plugin.py"]


def test_pytest_finds_its_plugin(metadata: dict[str, Any]) -> None:
    assert metadata["entry_points"]["pytest11"] == ["hardhttp=pytest_hardhttp"]
    assert metadata["py_modules"] == ["pytest_hardhttp"]
    assert (ROOT / "pytest_hardhttp.py").is_file()


def test_every_resource_is_shipped(metadata: dict[str, Any]) -> None:
    assert set(metadata["package_data"]) == {"hardhttp"}, "nothing but Python goes into twisted/"
    package = ROOT / "hardhttp"
    shipped = {path for pattern in metadata["package_data"]["hardhttp"] for path in package.glob(pattern)}
    others = {path for path in package.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert shipped == others
    assert package / "py.typed" in shipped


def test_python_and_dependencies(metadata: dict[str, Any]) -> None:
    needs = {need.name.lower(): need for need in map(Requirement, metadata["install_requires"])}
    assert set(needs) == {"attrs", "httptools", "multipart", "twisted", "zope.interface"}
    assert needs["twisted"].extras == {"tls"}
    assert "26.9.0" not in needs["twisted"].specifier
    assert "26.10.0" in needs["twisted"].specifier
    assert metadata["python_requires"] == ">=3.11"
    assert metadata["zip_safe"] is False


def test_dev_is_all_the_other_extras(metadata: dict[str, Any]) -> None:
    extras = metadata["extras_require"]
    assert set(extras) == {
        "client",
        "compression",
        "http2",
        "mercure",
        "metrics",
        "redis",
        "soak",
        "websocket",
        "test",
        "coverage",
        "docs",
        "lint",
        "bench",
        "dev",
    }
    for name, needs in extras.items():
        assert set(needs) <= set(extras["dev"]), name


def test_every_import_of_the_package_is_declared(metadata: dict[str, Any]) -> None:
    """Top-level imports of hardhttp come from the standard library or from a dependency."""
    declared = {Requirement(need).name.partition(".")[0] for need in metadata["install_requires"]}
    # Ours, and Twisted's own dependencies, some through its extra [tls].
    declared |= {"hardhttp", "OpenSSL", "cryptography", "constantly", "incremental", "hyperlink", "typing_extensions"}
    declared |= {"idna", "service_identity"}
    # What only a site that speaks HTTP/2 imports, or one that has WebSockets.
    speaking_http2 = (
        "net/channel2",
        "net/promises",
        "net/tunnel",
        "testing/http2",
        "wire/fielddecoder",
        "wire/http2",
        "wire/http2client",
        "wire/promise",
    )
    for_http2 = {f"hardhttp/{name}.py" for name in speaking_http2}
    extra = {
        "hardhttp/client/treqclient.py: treq",
        "hardhttp/ops/gatheredmetrics.py: prometheus_client",
        "hardhttp/ops/metrics.py: prometheus_client",
        "hardhttp/wire/websocketframes.py: wsproto",
    }
    unknown = set()
    for path in (ROOT / "hardhttp").rglob("*.py"):
        for node in ast.parse(path.read_text("utf-8")).body:
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            tops = {name.partition(".")[0] for name in names}
            if path.relative_to(ROOT).as_posix() in for_http2:
                tops -= {"h2", "hpack"}
            unknown |= {f"{path.relative_to(ROOT)}: {top}" for top in tops - declared - sys.stdlib_module_names}
    assert unknown == extra


@pytest.mark.slow
def test_without_h2_http_1_is_spoken_alone() -> None:
    script = (
        "import sys; sys.modules['h2'] = sys.modules['hpack'] = None\n"
        "import hardhttp, hardhttp.client, hardhttp.tap, hardhttp.sse, hardhttp.testing\n"
        "from twisted.internet.task import Clock\n"
        "site = hardhttp.Site(None, reactor=Clock())\n"
        "assert site.acceptableProtocols() == [b'http/1.1']\n"
        "try:\n"
        "    hardhttp.Site(None, reactor=Clock(), http2=True)\n"
        "except ImportError:\n"
        "    print('refused')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("refused\n", "")
