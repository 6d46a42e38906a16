"""What Sphinx is told: see build.py beside this file."""

import sys
from pathlib import Path

from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import wshub
import wshub.service

sys.path.append(str(Path(wshub.service.__file__).with_name("classic")))  # where Services and WebSockets are

project = "wshub"
author = "the wshub authors"
project_copyright = author
version = release = wshub.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc"]
root_doc = "index"
default_role = "literal"  # of docstrings: `name`
nitpicky = False

myst_heading_anchors = 4  # the ids that forges give headings

autodoc_default_options = {
    "members": True,
    "inherited-members": "int, tuple, Exception, Empty",  # what these have is Python's to document
    "exclude-members": "inbox, task, pump, queue",  # the kit's own, as they stand in tests/test_docs.py
}
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
add_module_names = False
python_display_short_literal_types = True
maximum_signature_line_length = 88

html_theme = "furo"
html_title = f"wshub {release}"
html_show_sphinx = False
html_copy_source = False
html_static_path = ["static"]
html_css_files = ["site.css"]
html_theme_options = {"navigation_with_keys": True}


def setup(app: Sphinx) -> None:
    """Languages of fenced blocks that Pygments does not know."""
    app.add_lexer("hex", TextLexer)
