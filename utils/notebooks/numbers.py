"""Numbers in a page's prose that come from outputs, and numbers that do not.

Behind a number stands a comment, `93 %<!-- = rate:.0% -->`: what stands between the braces of an f-string, over the names that the
notebook has there. Nobody sees it on GitHub, and notebooks do not hold it. When answers are executed, the kernel says what it gives,
and the build holds the page against that.
"""

import ast
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from utils.notebooks.errors import CourseError, CourseErrors

MARKER = re.compile(r"<!--\s*=\s*(.*?)\s*-->")
OPEN_MARKER = re.compile(r"<!--\s*=(?!.*-->)")
NUMBER = r"[-−+]?\d+(?:[.,/]\d+)*"  # a latent's layer and number, 3/840, are one

# what is no result: formulas, code, headings and titles, addresses, years, names and numbers of things
NO_RESULT = [
    re.compile(pattern, re.MULTILINE | re.IGNORECASE)
    for pattern in (
        r"^(```|~~~)[^\0]*?^\1",
        r"`[^`\n]*`",
        r"\$\$[^$]*\$\$|\$[^$\n]*\$",
        r"^#+ .*$|^:.*$",
        r"^\s*\d+\. |^\| \d+ \|.*\| \d+ \|$",  # items of a list, rows of the table of contents
        r"\]\([^)\s]*\)|https?://\S+|arxiv[: ]*[\d.]+",
        r"\b(?:19|20)\d\d\b",
        r"\b(?:chapter|section|exercise|figure|hint|step|layer|position|block)s?\s\d+(?:\.\d+)*"
        r"(?:(?:,|,? and|,? or|,? to|–)\s?\d+(?:\.\d+)*)*",
        r"\b(?:dimension|head)s?\s\d+(?!\.?\d)(?:(?:,|,? and|,? or) \d+(?!\.?\d))*",
        r"(?<![\w.,−+-])[01](?![\w.,]*\d| ?%)\b",  # nothing and all
        r"\b(?:Gemma|GemmaScope|Scope|Llama|GPT|Qwen|Python|TransformerLens)[ -]?\d[\w.-]*\b(?:, \d\b)?",
        r"\b[a-z_][\w-]*\d[\w.-]*\b|\b\d+[MB]\b",  # W_2, Qwen3-0.6B, float32, 270M
    )
]


@dataclass(frozen=True)
class Number:
    """A marker, and what the text says before it, from the marker before or the beginning of the line."""

    expression: str
    before: str
    line: int
    column: int  # where the marker begins in its line

    @property
    def program(self) -> str:
        """What Python evaluates to the text that should stand on the page."""
        return program(self.expression)


def program(expression: str) -> str:
    """An f-string of nothing but the expression; the space keeps a brace that begins it apart."""
    return f"f'''{{ {expression}}}'''"


def without_markers(text: str) -> str:
    """The text as people read it."""
    return MARKER.sub("", text)


def find_numbers(lines: Sequence[str], first: int, path: Path) -> Iterator[Number]:
    """The markers in lines of a page, of which the first has the number `first`. Raises CourseError for one that is no expression."""
    for line, text in enumerate(lines, start=first):
        start = 0
        for match in MARKER.finditer(text):
            try:
                ast.parse(program(match[1]), mode="eval")
            except (SyntaxError, ValueError):
                sentence = f"`{match[1]}` is not what can stand between the braces of an f-string."
                raise CourseError(path, line, sentence) from None
            yield Number(match[1], text[start : match.start()], line, match.start())
            start = match.end()
        if OPEN_MARKER.search(text, start):
            raise CourseError(path, line, "a marker `<!-- = ... -->` must end in its line.")


def as_written(value: str) -> str:
    """A formatted value as pages write it: a space before `%`, and a real minus."""
    return re.sub(r"(?<!\w)-(?=\d)", "−", re.sub(r"(?<=\d)%", " %", value))


def said(number: Number, value: str) -> str:
    """What the text says where `value` is meant: its end that differs from the value in digits only, or else its last word."""
    shape = re.split(rf"({NUMBER})", value)
    shape[::2] = [re.escape(part) for part in shape[::2]]
    shape[1::2] = [NUMBER if part[0] in "-−+" else NUMBER.removeprefix("[-−+]?") for part in shape[1::2]]
    # "−2.3" and " -2.3" do not say 2.3, but "1-2" may say 2
    start = r"(?<![\d.,−])(?<!(?<!\w)-)" if value[:1].isdigit() else ""
    match = re.search(rf"{start}(?:{''.join(shape)})\Z", number.before)
    return match[0] if match else " ".join(number.before.split()[-1:])


def differences(numbers: Sequence[tuple[Number, str]], path: Path) -> list[CourseError]:
    """An error for each number on the page that is not its value."""
    return [
        CourseError(path, number.line, f"the text says `{text}`, the output says `{value}` (`{number.expression}`).")
        for number, value in numbers
        if (text := said(number, value)) != value
    ]


def put_in(page: str, numbers: Sequence[tuple[Number, str]], path: Path) -> str:
    """The page with every number as its value says. Raises CourseErrors where the text has another form than the value."""
    lines = page.split("\n")
    problems = []
    for number, value in sorted(numbers, key=lambda pair: (pair[0].line, -pair[0].column)):
        text, line = said(number, value), lines[number.line - 1]
        if re.sub(NUMBER, "0", text) != re.sub(NUMBER, "0", value):
            sentence = f"`{value}` cannot take the place of `{text}`; write it yourself (`{number.expression}`)."
            problems.append(CourseError(path, number.line, sentence))
            continue
        lines[number.line - 1] = line[: number.column - len(text)] + value + line[number.column :]
    if problems:
        raise CourseErrors(problems)
    return "\n".join(lines)


def unmarked(text: str) -> list[tuple[int, str]]:
    """Numbers in Markdown that look like results and have no marker: the line (from 1) and the number with the words around it.

    A number of more than one digit that has a marker in the same text may stand there again.
    """
    known = {
        match[1] for match in re.finditer(rf"({NUMBER})[^\d\n]{{0,3}}<!--\s*=", text) if len(match[1].strip("-−+")) > 1
    }
    bare = re.sub(rf"{NUMBER}[^\d\n]{{0,3}}{MARKER.pattern}", blank, text)
    bare = re.sub(r"<!--[^\0]*?-->", blank, bare)
    for pattern in NO_RESULT:
        bare = pattern.sub(blank, bare)
    found = []
    for match in re.finditer(rf"(?<![\w.]){NUMBER}", bare):
        if match[0] not in known:
            around = text[text.rfind("\n", 0, match.start()) + 1 : (text + "\n").index("\n", match.end())]
            place = match.start() - text.rfind("\n", 0, match.start()) - 1
            words = without_markers(around[:place])[-25:] + without_markers(around[place:])[:30]
            found.append((text.count("\n", 0, match.start()) + 1, words.strip()))
    return found


def blank(match: re.Match) -> str:
    """Spaces for all but the ends of lines."""
    return re.sub(r"[^\n]", " ", match[0])
