"""What Sphinx is told: see build.py beside this file."""

import sys
from pathlib import Path
from typing import Any

from pygments.lexers.python import Python2Lexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

import wshub
import wshub.service
from wshub.service.queues import ClassicService

sys.path.append(str(Path(wshub.service.__file__).with_name("classic")))  # where Services and WebSockets are

ClassicService.__name__ = "Service"  # as its users know it, who import it from Services

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
    # The kit's own, as they stand in tests/test_docs.py, and Python's.
    "exclude-members": "inbox, task, pump, queue, is_known, add_note, with_traceback",
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

MADE_BY_THE_KIT = {"Service", "AsyncService", "Client", "Request", "Timer", "FakeClient"}
MADE_BY_THE_KIT |= {"ReceiveQueue", "SendQueue", "ShutdownFlag"}


def hide_signature(
    app: Sphinx, what: str, name: str, obj: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Nobody calls the classes that the kit makes objects of: what they are called with says nothing."""
    if what == "class" and name.rpartition(".")[2] in MADE_BY_THE_KIT and name != "Services.Service":
        return "", None
    return None


def setup(app: Sphinx) -> None:
    """What cannot be said above."""
    app.connect("autodoc-process-signature", hide_signature)
    app.add_lexer("hex", TextLexer)
    app.add_lexer("python2", Python2Lexer)
