"""Settings of the site, and the parts of it that are made from the code: docstrings, the catalogue of figures."""

import os
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import catalogue  # noqa: E402
import docstrings  # noqa: E402

import synthjax  # noqa: E402

project = "synthjax"
author = "the synthjax authors"
project_copyright = "the synthjax authors, Apache-2.0"
version = release = synthjax.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_design", "sphinx_copybutton"]
exclude_patterns = ["_build", "_generated"]
suppress_warnings = ["ref.python"]  # `x` is a word of code in a docstring, not a reference
default_role = "code"  # docstrings have single backticks, as Markdown has

html_theme = "sphinx_book_theme"
html_title = "synthjax"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_theme_options = {
    "show_toc_level": 2,
    "show_navbar_depth": 1,
    "navbar_persistent": [],  # the sidebar has the search field
    "use_download_button": False,
    # Pages with wide tables or code have none.
    "secondary_sidebar_items": {name: ["page-toc"] for name in ("[!f]*", "howto/*", "api/*", "notebook/*")},
}
html_copy_source = False
html_show_sourcelink = False

myst_enable_extensions = ["colon_fence", "deflist", "substitution", "fieldlist"]
myst_heading_anchors = 4
myst_url_schemes = {"http": None, "https": None, "mailto": None, "report": "../reports/{{path}}.html"}

# Tutorials are run at every build, each in its own folder under DOCS_RUNS.
nb_execution_mode = "force"
nb_execution_timeout = 600
nb_execution_raise_on_error = True
nb_merge_streams = True
os.environ.setdefault("DOCS_RUNS", str(HERE / "_build/runs"))
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True}
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False


def setup(app):
    """Connects both parts."""
    app.connect("autodoc-process-docstring", docstrings.to_rst, priority=400)  # before napoleon, at 500
    app.connect("config-inited", lambda *_: catalogue.write(HERE / "_generated"))
