"""Sphinx configuration."""

from ceers_steps import __version__

project = "ceers_steps"
author = "The ceers_steps developers"
copyright = "2026, The ceers_steps developers"
release = __version__
extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "numpydoc",
]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
numpydoc_show_class_members = False
autodoc_typehints = "none"
html_theme = "furo"
html_title = f"ceers_steps {release}"
exclude_patterns = ["_build"]
