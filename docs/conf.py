"""How Sphinx builds the site: `make docs`. The root of the repository is its source, so that links work there too."""

from sphinx.application import Sphinx

project = "freeze-orchestrator"
author = ""
root_doc = "README"
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/**.md", "mlruns/README.md"]
exclude_patterns = [".*", "build"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = project
html_show_copyright = False
html_copy_source = False

myst_heading_anchors = 4
# docstrings use Markdown's code spans
default_role = "code"
add_module_names = False
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"exclude-members": "model_config"}
napoleon_numpy_docstring = False
napoleon_use_ivar = True
python_maximum_signature_line_length = 110
# a block without a language is output, not Python
highlight_language = "none"

# What the side bar holds. It is kept out of the pages: they are also read where no directive is understood.
_BELOW = {
    "README": "docs/api docs/* docs/adr/README CONTRIBUTING CHANGELOG mlruns/README",
    "docs/adr/README": "0*",
}


def _add_contents(_: Sphinx, name: str, source: list[str]) -> None:
    if name in _BELOW:
        pages = _BELOW[name].replace(" ", "\n")
        source[0] += f"\n```{{toctree}}\n:glob:\n:hidden:\n\n{pages}\n```\n"


# Napoleon takes what stands before a colon in an attribute's docstring for its type; here it is a sentence.
_sentences: dict[str, list[str]] = {}


def _keep_sentence(_: Sphinx, what: str, name: str, __: object, ___: object, lines: list[str]) -> None:
    if what in {"attribute", "property"}:
        _sentences[name] = list(lines)


def _restore_sentence(_: Sphinx, __: str, name: str, ___: object, ____: object, lines: list[str]) -> None:
    lines[:] = _sentences.pop(name, lines)


def setup(app: Sphinx) -> None:
    """Add what Sphinx has no setting for."""
    app.connect("source-read", _add_contents)
    app.connect("autodoc-process-docstring", _keep_sentence, priority=400)
    app.connect("autodoc-process-docstring", _restore_sentence, priority=600)
