"""What is installed.

The version is written once, in ``hardhttp/__init__.py``, and read from its text: importing the
package here would need everything it depends on before pip has learned what that is.

``twisted.plugins`` is named by hand because it must never hold an ``__init__.py``: Twisted joins
the directories of that name on ``sys.path``, and an ``__init__.py`` in ours would hide its own.
The package lies flat beside ``twisted/``, not under ``src/``, so that a checkout on ``PYTHONPATH``
lists the plugin too. ``package_dir`` says what is so anyway, because only then does setuptools make
an editable install one line in a ``.pth`` file; otherwise it installs an import hook, and Twisted,
which looks along ``sys.path``, finds no plugin.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

here = Path(__file__).resolve().parent


def version() -> str:
    text = (here / "hardhttp" / "__init__.py").read_text("utf-8")
    found = re.search(r'^__version__(?:: str)? = "([^"]+)"', text, re.M)
    if not found:
        raise SystemExit("hardhttp/__init__.py holds no line __version__ = ...")
    return found[1]


client = ["treq"]
compression = ["brotli", 'zstandard; python_version < "3.14"']
http2 = ["h2>=4.3,<5"]
metrics = ["prometheus_client"]
mercure = ["PyJWT[crypto]>=2.12,<3"]
websocket = ["wsproto>=1.2,<2"]
# prometheus_client reads /metrics of the server under test; rich draws the progress on a terminal.
soak = ["prometheus_client", "rich"]
test = [
    *client,
    *compression,
    *http2,
    *mercure,
    *metrics,
    *soak,
    *websocket,
    "aiohttp",
    "aiohttp-sse-client2",
    "autobahn[twisted]",
    "flask",
    "h11",
    "httpbin",
    "httpx",
    "httpx-sse",
    "hypercorn",
    "hypothesis",
    "klein",
    "kosoku",
    "pytest>=9",
    "pytest-twisted>=1.14",
    "pytest-xdist>=3.2",
    "requests",
    "scrapy",
    "selenium",
    "setuptools>=64",
    "websockets",
    "txredisapi>=1.6",
]
docs = [*client, *soak, "furo", "sphinx>=8", "towncrier"]
lint = [*client, *http2, *metrics, *soak, *websocket, "mypy", "mypy-zope", "pre-commit", "pytest", "ruff", "towncrier"]
bench = [
    "aiohttp",
    "aiohttp-sse",
    "granian",
    "hypercorn",
    "klein",
    "sse-starlette",
    "starlette",
    "tornado",
    "uvicorn[standard]",
]

setup(
    name="hardhttp",
    version=version(),
    description="A Twisted HTTP and Server-Sent-Events server that can be left running for months",
    long_description=(here / "README.md").read_text("utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Framework :: Twisted",
        "Intended Audience :: Developers",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3 :: Only",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
        "Topic :: Internet :: WWW/HTTP :: HTTP Servers",
        "Typing :: Typed",
    ],
    package_dir={"": "."},
    # pytest loads its plugins into every run: this one's door imports nothing of the package.
    py_modules=["pytest_hardhttp"],
    packages=[*find_packages(include=["hardhttp", "hardhttp.*"]), "twisted.plugins"],
    package_data={
        "hardhttp": ["py.typed", *(f"**/*.{suffix}" for suffix in ("html", "css", "js", "svg", "ico", "txt"))],
    },
    include_package_data=False,
    zip_safe=False,
    python_requires=">=3.11",
    install_requires=[
        "attrs",
        "httptools",
        "multipart>=2,<3",
        "twisted[tls]>=26.10",
        "zope.interface",
    ],
    entry_points={
        "console_scripts": ["hardhttp-soak=hardhttp.soak.__main__:main"],
        "pytest11": ["hardhttp=pytest_hardhttp"],
    },
    extras_require={
        "redis": ["txredisapi>=1.6"],
        "client": client,
        "compression": compression,
        "http2": http2,
        "mercure": mercure,
        "metrics": metrics,
        "soak": soak,
        "websocket": websocket,
        "test": test,
        "coverage": [*test, "coverage[toml]"],
        "docs": docs,
        "lint": lint,
        "bench": bench,
        "dev": sorted({*test, *docs, *lint, *bench, "coverage[toml]", "tox"}),
    },
)
