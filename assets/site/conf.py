"""Sphinx's settings. `peft-teach site` copies this folder, adds the lessons, and builds.

Everything that a page loads lies beside it: no page asks another host for anything.
"""

import re
import tomllib
from html import escape
from pathlib import Path

project = "peft-teach"
author = "the authors of peft-teach"
release = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]

exclude_patterns = ["README.md"]     # index.md includes its table of lessons
extensions = ["myst_nb", "sphinx.ext.mathjax", "sphinx-mathjax-offline"]
myst_enable_extensions = ["dollarmath", "amsmath", "attrs_inline", "deflist", "colon_fence"]
myst_heading_anchors = 3
mathjax3_config = {"options": {"enableMenu": False}}    # else each formula is a stop of the Tab key
nb_execution_mode = "off"            # the outputs are those that are stored
nb_code_prompt_show = "Show the code"
nb_code_prompt_hide = "Hide the code"
nb_merge_streams = True
suppress_warnings = ["mystnb.unknown_mime_type", "myst.header"]

html_theme = "furo"
html_title = "peft-teach"
html_theme_options = {"navigation_with_keys": False}    # an arrow key scrolls
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_js_files = [("site.js", {"defer": "defer"})]
html_favicon = "_static/lora.svg"
html_search_scorer = str(Path("scorer.js").resolve())
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False


JOINED = ((r"(?<=\d) (?=[%×]|[kMG]B\b)|(?<=[±×]) (?=\d)", "\N{NO-BREAK SPACE}"),
          (r'<span class="math [^<]*</span>[.,;:?!)]+', r'<span class="whole">\g<0></span>'))


def _joined(app, name, template, context, doctree):
    """Keep a number with its sign or unit ("57 %", "± 0.02", "4 × 4", "12 kB"), a formula with the
    stop behind it; code stays as it is.
    """
    parts = re.split(r"(<pre.*?</pre>)", context.get("body", ""), flags=re.DOTALL)
    for old, new in JOINED:
        parts[::2] = [re.sub(old, new, part) for part in parts[::2]]
    context["body"] = "".join(parts)


def _defined(app, name, template, context, doctree):
    """Give each link to a term of the glossary what stands there, so that a pointer shows it."""
    terms = app.env.get_doctree("glossary").findall(
        lambda node: node.tagname == "definition_list_item")
    told = {f"#{item[0]['ids'][0]}": " ".join(item[1].astext().split()) for item in terms}
    context["body"] = re.sub(
        r'<a class="[^"]*" href="[^"]*(#term-[^"]*)"(?=><span class="xref std std-term")',
        lambda link: f'{link[0]} title="{escape(told[link[1]])}"', context.get("body", ""))


def setup(app):
    """Sphinx calls it."""
    app.connect("html-page-context", _defined)
    app.connect("html-page-context", _joined)
