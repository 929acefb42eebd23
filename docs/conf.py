"""Settings of the documentation's site, which `make docs` builds with Sphinx.

The source folder is the whole repository, so that a link between Markdown files leads to the same place on the site and
in the repository.
"""

from __future__ import annotations

import html
from pathlib import Path

from docutils import nodes
from sphinx.addnodes import download_reference
from sphinx.application import Sphinx
from sphinx.util.osutil import relative_uri

project = "Celery on Hosts"
project_copyright = "2026 The Celery on Hosts authors"
html_title = project
html_theme = "furo"
html_static_path = ["site/style.css"]
html_css_files = ["style.css"]
html_extra_path = ["site/index.html"]
html_copy_source = False
html_use_index = False

extensions = ["myst_parser"]
root_doc = "README"
include_patterns = ["*.md", "app/README.md", "docs/*.md", "roles/*/README.md"]
exclude_patterns = [".*", "**/.*", "build"]  # .ansible holds a link to the repository itself
myst_heading_anchors = 6
suppress_warnings = ["misc.highlighting_failure"]  # examples leave code out with …

NAVIGATION = {
    "First steps": ["docs/tour", "docs/applications", "docs/brokers", "docs/hosts"],
    "Running the platform": [
        "docs/operations",
        "docs/health",
        "docs/dead-letters",
        "docs/security",
        "docs/troubleshooting",
    ],
    "Reference": ["docs/variables", "docs/settings", "docs/features", "The tasks application <app/README>"],
    "Proof": ["Guarantees <docs/guarantees>", "docs/conformance", "docs/figures"],
    "The project": ["docs/how-it-works", "CONTRIBUTING", "CHANGELOG"],
    "Roles": ["roles/*/README"],
}


def add_navigation(app: Sphinx, name: str, source: list[str]) -> None:
    """Append the site's navigation to the home page.

    The home page is README.md, where other viewers of Markdown would show a table of contents' directive as code.

    Args:
        app: Sphinx.
        name: of the page that is read, without `.md`.
        source: the page's text, as a list of one element, which is changed in place.
    """
    if name == app.config.root_doc:
        for caption, pages in NAVIGATION.items():
            entries = "\n".join(pages)
            source[0] += f"\n```{{toctree}}\n:hidden:\n:glob:\n:caption: {caption}\n\n{entries}\n```\n"


FILE = """<!doctype html>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{name}</title>
<h1>{name}</h1>
<pre>{text}</pre>
"""
linked: set[str] = set()  # files of the repository to which pages link, relative to the repository


def open_in_the_browser(app: Sphinx, document: nodes.document, name: str) -> None:
    """Let a link to a file of the repository open the file, where Sphinx would let the browser download the file.

    Pictures open as they are, all other files as a page with the file's text.

    Args:
        app: Sphinx.
        document: the page, which is changed in place.
        name: of the page, without `.md`.
    """
    for link in list(document.findall(download_reference)):
        if "filename" not in link:
            continue  # there is no such file, which Sphinx reports
        file, _ = app.env.relfn2path(link["reftarget"], name)
        if Path(file).suffix in (".png", ".svg"):
            target = f"_downloads/{link['filename']}"
        else:
            linked.add(file)
            target = f"source/{file}.html"
        target = relative_uri(app.builder.get_target_uri(name), target)
        link.replace_self(nodes.reference("", "", *link.children, refuri=target, internal=True))


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Write a page for each file to which a page links.

    Args:
        app: Sphinx.
        error: why the build failed, if it failed.
    """
    for file in linked if error is None else ():
        text = html.escape((app.srcdir / file).read_text(encoding="utf-8"))
        page = app.outdir / f"source/{file}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(FILE.format(name=file, text=text), encoding="utf-8")


def setup(app: Sphinx) -> None:
    """Register the functions above with Sphinx.

    Args:
        app: Sphinx.
    """
    app.connect("source-read", add_navigation)
    app.connect("doctree-resolved", open_in_the_browser)
    app.connect("build-finished", write_files)
