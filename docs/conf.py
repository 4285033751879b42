"""The site: `python -m sphinx -W docs out/site`. What stands in folders below docs/ is generated, by `pages`, `api` and `gallery`."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import gallery  # noqa: E402
import mathml  # noqa: E402
import pages  # noqa: E402
from docstrings import as_rst  # noqa: E402

from utils import __version__  # noqa: E402
from utils.notebooks.address import BRANCH, repository  # noqa: E402

project, author, copyright = "Attribution graphs, by hand", "the course's authors", "the course's authors, MIT licence"
version = release = __version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["gallery/*/*"]
suppress_warnings = ["myst.header"]  # a chapter may go from its title to an exercise

# chapters are shown as they were executed; formulas need no script
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring, napoleon_numpy_docstring = True, False
maximum_signature_line_length = 90
add_module_names = False
napoleon_use_ivar = True  # attributes are listed with their class
default_role = "code"

html_theme = "sphinx_book_theme"
html_title = project
html_extra_path = ["extra"]
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_copy_source = False
html_theme_options = {
    "repository_url": repository(HERE.parent),
    "repository_branch": BRANCH,
    "path_to_docs": "docs",
    "use_repository_button": True,
    "use_issues_button": True,
    "use_download_button": False,
    "show_toc_level": 2,
    "navbar_persistent": [],
}


def setup(app) -> None:
    """Write the generated pages, and teach Sphinx formulas and the docstrings' way of writing."""
    pages.write_pages(HERE)
    gallery.write_gallery(HERE)
    mathml.add_to(app)
    app.connect("autodoc-process-docstring", as_rst, priority=400)  # before napoleon
