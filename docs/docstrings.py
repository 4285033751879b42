"""Docstrings are written to be read as they are: code in single backticks, stars and bars as signs. For Sphinx they become RST."""

import re

CODE = re.compile(r"(``.+?``|`[^`\n]+`)")
SIGN = re.compile(r"[*|\\]|(?<=\w)_(?!\w)")
SECTIONS = "Args|Attributes|Example|Examples|Note|Raises|Returns|Yields"
LIST = re.compile(rf"^(?!(?:{SECTIONS}):$)(\S[^\n]*:)\n((?: {{4}}[^\n]*(?:\n|$))+)", re.MULTILINE)


def as_rst(app, what: str, name: str, obj, options, lines: list[str]) -> None:
    """Change the lines of a docstring in place (a handler of `autodoc-process-docstring`)."""
    parts = CODE.split("\n".join(lines))
    parts[::2] = [SIGN.sub(r"\\\g<0>", part) for part in parts[::2]]
    parts[1::2] = [f"``{part.strip('`')}``" for part in parts[1::2]]
    text = LIST.sub(bulleted, "".join(parts))
    if what == "module":  # an indented paragraph is a table of files
        text = re.sub(r"\n\n(?=    )", "\n\n::\n\n", text)
    lines[:] = text.split("\n")


def bulleted(match: re.Match) -> str:
    """What is indented below a line that ends in a colon, as a list."""
    items = [f"* {line[4:]}" if line[4:5] != " " else f"  {line.lstrip()}" for line in match[2].splitlines()]
    return "\n".join([match[1], "", *items, ""])
