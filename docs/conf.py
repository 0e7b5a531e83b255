"""Configuration of the documentation site, which Sphinx reads: ``make docs``."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import tiktok_oauth_middleware

sys.path.insert(0, str(Path(__file__).parent))  # for the three extensions beside this

# What a build makes lives to its end, so that a search for garbage takes time and frees
# little.
gc.disable()

project = "tiktok-oauth-middleware"
author = "the contributors of tiktok-oauth-middleware"
version = release = tiktok_oauth_middleware.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx_copybutton",
    "site_diagrams",
    "site_docstrings",
    "site_pages",
]
root_doc = "index"
nitpicky = False  # signatures name private types, which have no entry
smartquotes_action = "D"  # "--" in the reference is a dash; quotes stay as written
language = "en"

# --- pages in Markdown -------------------------------------------------------------
myst_heading_anchors = 4  # anchors as a forge makes them; links to them are checked
myst_fence_as_directive = ["mermaid"]

# --- the reference, from docstrings ------------------------------------------------
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_type_aliases = {"App": "App"}
autodoc_preserve_defaults = True
autodoc_default_options = {"members": True, "undoc-members": True}
default_role = "py:obj"  # `Name` is a link where the reference has that name
python_use_unqualified_type_names = True
maximum_signature_line_length = 110
toc_object_entries_show_parents = "hide"
add_module_names = False

# --- how it looks ------------------------------------------------------------------
html_theme = "furo"
pygments_dark_style = "a11y-dark"
html_title = f"tiktok-oauth-middleware {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_search_scorer = str(Path(__file__).parent / "_static/search_order.js")
html_favicon = "_static/favicon.svg"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
copybutton_exclude = ".linenos, .gp, .go"
