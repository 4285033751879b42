"""Formulas as MathML, which browsers draw themselves: no script, no network."""

from docutils import nodes
from latex2mathml.converter import convert


def add_to(app) -> None:
    """The renderer `mathml`, for `html_math_renderer`."""
    app.add_html_math_renderer("mathml", (inline, None), (block, None))


def inline(writer, node) -> None:
    """A formula in a line of text."""
    writer.body.append(convert(node.astext()))
    raise nodes.SkipNode


def block(writer, node) -> None:
    """A formula of its own, which scrolls where the page is narrow."""
    formula = convert(node.astext(), display="block")
    writer.body.append(f'<div class="math" tabindex="0" role="group" aria-label="Formula">{formula}</div>\n')
    raise nodes.SkipNode
