"""Sphinx settings. Nothing is fetched: no intersphinx, no fonts, no badges."""

import sys
from pathlib import Path

here = Path(__file__).resolve().parent
sys.path[:0] = [str(here.parent), str(here / "_ext")]

import hardhttp  # noqa: E402

project = "hardhttp"
author = "the hardhttp authors"
copyright = "2026, the hardhttp authors"
version = release = hardhttp.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.viewcode", "from_source"]
html_theme = "furo"
html_title = f"hardhttp {release}"
exclude_patterns = ["_build"]
nitpicky = False
default_role = "code"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autoclass_content = "class"
# What we override without a word keeps the words of Twisted, and those are epytext.
autodoc_inherit_docstrings = False
