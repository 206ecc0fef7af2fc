"""``twistd --help`` lists hardhttp however it was come by.

Three ways, each in a fresh virtual environment: the wheel (built from the source archive, so that
both are tried), an editable install, and a plain checkout on ``PYTHONPATH``. In each of them the
options are printed too, which imports the service itself. The wheel must put one file into
``twisted/`` and nothing else.

    python tests/plugin_check.py         needs the package "build" and a way to fetch dependencies
"""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = "twisted/plugins/hardhttp_plugin.py"
NOT_COPIED = shutil.ignore_patterns(
    ".git", ".tox", ".venv", ".*_cache", ".hypothesis", "build", "dist", "_build", "*.egg-info", "__pycache__"
)


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**env, "PIP_DISABLE_PIP_VERSION_CHECK": "1", **variables},
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}")
    return done.stdout


def environment(room: Path, name: str, cwd: Path, *wanted: str | Path) -> Path:
    """A fresh virtual environment with what is wanted; gives its ``bin``."""
    venv.create(room / name, with_pip=True)
    binaries = room / name / "bin"
    run(binaries / "python", "-m", "pip", "install", "-q", *wanted, cwd=cwd)
    return binaries


def check(way: str, binaries: Path, cwd: Path, **variables: str) -> None:
    listing = run(binaries / "twistd", "--help", cwd=cwd, **variables)
    line = re.search(r"^ +hardhttp +\S.*$", listing, re.M)
    if not line:
        sys.exit(f"{way}: twistd --help does not list hardhttp:\n{listing}")
    if "Traceback" in listing:
        sys.exit(f"{way}: a plugin failed to load:\n{listing}")
    options = run(binaries / "twistd", "hardhttp", "--help", cwd=cwd, **variables)
    if "--listen" not in options:
        sys.exit(f"{way}: twistd hardhttp --help does not show --listen:\n{options}")
    print(f"{way}:{line[0]}", flush=True)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hardhttp-plugin-") as name:
        room = Path(name)
        elsewhere = room / "elsewhere"
        elsewhere.mkdir()
        # Copies: a build leaves files behind, and a run leaves a cache of plugins.
        for copy in ("to-build", "to-edit", "to-run"):
            shutil.copytree(ROOT, room / copy, ignore=NOT_COPIED)

        run(sys.executable, "-m", "build", "--outdir", room / "dist", cwd=room / "to-build")
        (wheel,) = (room / "dist").glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            names = archive.namelist()
            (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            metadata = email.message_from_bytes(archive.read(about))
        ours = (PLUGIN, "pytest_hardhttp.py")
        strays = [name for name in names if not name.startswith("hardhttp") and name not in ours]
        if strays or PLUGIN not in names:
            sys.exit(f"the wheel holds {strays or names}")
        check("wheel", environment(room, "wheel", elsewhere, wheel), elsewhere)

        binaries = environment(room, "editable", elsewhere, "-e", room / "to-edit")
        check("editable install", binaries, elsewhere)

        needs = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]
        binaries = environment(room, "checkout", elsewhere, *needs)
        check("plain checkout", binaries, elsewhere, PYTHONPATH=str(room / "to-run"))


if __name__ == "__main__":
    main()
