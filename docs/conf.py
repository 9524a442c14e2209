"""How Sphinx builds these pages: Markdown in, one self-contained site out, nothing fetched."""

from __future__ import annotations

import importlib.metadata

project = "headrace"
author = "the headrace authors"
project_copyright = "2026, the headrace authors"
release = importlib.metadata.version("headrace")

extensions = ["myst_parser"]
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
highlight_language = "text"

html_theme = "furo"
html_title = "headrace"
html_show_sourcelink = False
