"""Settings of the documentation site: `make docs` builds it in English, and in Chinese where a page is translated."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

project = "textrnn"
author = "textrnn contributors"
copyright = author
release = version = version_of("textrnn")
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "site_pages",
]
exclude_patterns = ["build", "locale", "_templates"]
templates_path = ["_templates"]

highlight_language = "text"  # of a block that names no language

html_theme = "furo"
html_title = "textrnn"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_sidebars = {
    "**": [
        "sidebar/brand.html",
        "sidebar/language.html",
        "sidebar/search.html",
        "sidebar/scroll-start.html",
        "sidebar/navigation.html",
        "sidebar/scroll-end.html",
    ]
}

myst_enable_extensions = ["colon_fence"]
myst_heading_anchors = 4
suppress_warnings = ["myst.header"]  # a file of the repository may begin its headings at any level

# The notebook is executed by the first build; the second language takes the outputs from the cache.
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).resolve().parent / "build" / "notebooks")
nb_execution_timeout = 120
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
default_role = "py:obj"
smartquotes = False  # an option --set is not a dash
nb_output_stderr = "remove"

locale_dirs = ["locale"]
gettext_compact = False
gettext_uuid = False
gettext_location = False
gettext_last_translator = ""
gettext_language_team = ""
CATALOGUES = Path(__file__).resolve().parent / "locale" / "zh_CN" / "LC_MESSAGES"
TRANSLATED = tuple(sorted(path.relative_to(CATALOGUES).with_suffix("").as_posix() for path in CATALOGUES.rglob("*.po")))
