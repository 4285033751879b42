"""The site's pages that are made from the repository: chapters, pages for instructors and authors, the command, the API, the card."""

import base64
import hashlib
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

from utils.notebooks.address import BRANCH, COLAB, repository
from utils.notebooks.make_cells import IMAGE, LINK, NOT_TEXT
from utils.notebooks.page import Exercise, Page, read_pages
from utils.notebooks.pictures import PLOTLY, PNG

# Where a file of the repository stands on the site; `places_of` adds what lies in instructions/.
PLACES = {
    "README.md": "index",
    "CHANGELOG.md": "pages/changelog",
    "CONTRIBUTING.md": "pages/contributing",
    "utils/atlas/MODEL_CARD.md": "pages/model_card",
}
CODE_LINK = re.compile(r"\[(`[^`\n]+`)\]\((?!\w+:|#)([^)\s]+)\)")  # a link whose words are code
DATA_IMAGE = re.compile(r"!\[([^\]]*)\]\(data:image/([\w+]+);base64,([^)]+)\)")
COMMANDS = (
    "solutions.trace",
    "utils.dashboard",
    "utils.notebooks",
    "utils.grading",
    "utils.cohort",
    "solutions.case_studies",
    "solutions.attention_study",
)


def write_pages(docs: Path) -> None:
    """Write everything anew into folders of `docs`."""
    root = docs.parent
    chapters = read_pages(root)
    for folder in ("chapters", "pages", "api"):
        shutil.rmtree(docs / folder, ignore_errors=True)
        (docs / folder).mkdir()
    places = places_of(root, chapters)
    for source, place in places.items():
        if place.startswith("pages/"):
            text = (root / source).read_text(encoding="utf-8")
            write(docs / f"{place}.md", relinked(text, root, source, place, places))
    for chapter in chapters:
        write_chapter(docs, chapter, places)
        write(docs / "api" / f"{chapter.path.stem}.rst", api_page(chapter))
    write(docs / "api" / "index.rst", api_index(chapters))
    write(docs / "pages" / "map.md", map_page(chapters))
    write(docs / "pages" / "command.md", command_page(root))


def places_of(root: Path, chapters: list[Page]) -> dict[str, str]:
    """Where each file of the repository that is on the site stands there."""
    pages = {f"instructions/{path.name}": f"pages/{path.stem}" for path in sorted((root / "instructions").glob("*.md"))}
    pages |= {f"instructions/{chapter.path.name}": docname(chapter) for chapter in chapters}
    return PLACES | pages | {f"solutions/{chapter.answers.name}": docname(chapter) for chapter in chapters}


def docname(chapter: Page) -> str:
    """Where a chapter stands on the site."""
    return f"chapters/{chapter.path.stem}"


def write(path: Path, text: str) -> None:
    """Write a page."""
    path.write_text(text, encoding="utf-8")


def relinked(text: str, root: Path, source: str, place: str, places: dict[str, str]) -> str:
    """The Markdown of a file at `source`, with links that work at `place`: to the site where the target is on it, else to the repository.

    Images are copied beside the page.
    """

    def target(address: str) -> str:
        return os.path.normpath(f"{Path(source).parent}/{address}")

    def link(match: re.Match) -> str:
        address, _, anchor = match[2].partition("#")
        file = target(address)
        if file in places:
            moved = f"{os.path.relpath(places[file], Path(place).parent)}.{suffix(places[file])}"
            return f"[{match[1]}]({moved}{'#' * bool(anchor)}{anchor})"
        kind = "tree" if (root / file).is_dir() else "blob"
        return f"[{match[1]}]({repository(root)}/{kind}/{BRANCH}/{file})"

    def image(match: re.Match) -> str:
        file = root / target(match[2])
        shutil.copy(file, root / "docs" / Path(place).parent / file.name)
        return f"![{match[1]}]({file.name})"

    # code and formulas, which may look like links, are every second part
    parts = NOT_TEXT.split(CODE_LINK.sub(link, text))
    parts[::2] = [IMAGE.sub(image, LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


def suffix(place: str) -> str:
    """The ending of a page's source."""
    return "ipynb" if place.startswith("chapters/") else "md"


def write_chapter(docs: Path, chapter: Page, places: dict[str, str]) -> None:
    """A chapter's executed notebook, with links for the site and a first line that leads to the work."""
    notebook = nbformat.read(chapter.answers, as_version=4)
    source, place = chapter.answers.relative_to(chapter.root).as_posix(), docname(chapter)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = with_files(relinked(cell.source, chapter.root, source, place, places), docs / "chapters")
        elif "setup" in cell.metadata.get("tags", []):
            cell.metadata.tags = ["remove-cell"]
        for output in cell.get("outputs", []):
            if PNG in output.get("metadata", {}):
                about = output.metadata[PNG]
                output.data.pop(PLOTLY, None)  # the site shows the picture
                cell.metadata["mystnb"] = {"image": {"alt": about["alt"], "width": f"{about['width']}px"}}
    students = f"blob/{BRANCH}/{chapter.notebook.relative_to(chapter.root).as_posix()}"
    address = repository(chapter.root)
    colab = address.replace("https://github.com", COLAB)
    notebook.cells[0].source = (  # the badge
        ":::{admonition} These are the answers\n:class: note\n"
        "This page shows the chapter with its reference answers and their outputs. To write your own, open the "
        f"[notebook]({address}/{students}), on your machine or [on Colab]({colab}/{students}).\n:::"
    )
    title = next(index for index, cell in enumerate(notebook.cells) if cell.source.startswith("# "))
    notebook.cells.insert(title + 1, new_markdown_cell(notebook.cells.pop(0).source, id="note"))
    nbformat.write(notebook, docs / f"{place}.ipynb")


def with_files(text: str, folder: Path) -> str:
    """The text with the pictures that it holds in files: Markdown on the site takes no drawing as an address."""

    def image(match: re.Match) -> str:
        content = base64.b64decode(match[3])
        path = folder / f"{hashlib.sha256(content).hexdigest()[:12]}.{match[2].partition('+')[0]}"
        path.write_bytes(content)
        return f"![{match[1]}]({path.name})"

    return DATA_IMAGE.sub(image, text)


def map_page(chapters: list[Page]) -> str:
    """What each chapter asks for, and which chapter needs which."""
    lines = [
        "# The map of the course",
        "",
        "A chapter is a notebook. You write functions, and each one is checked at once. The minutes are for the exercises alone: "
        "reading and trying things out takes about as long again.",
        "",
        "| | chapter | exercises | minutes | points |",
        "|---|---|---|---|---|",
    ]
    exercises = {chapter: [cell for cell in chapter.cells if isinstance(cell, Exercise)] for chapter in chapters}
    for chapter, found in exercises.items():
        minutes, points = sum(one.minutes for one in found), sum(one.points for one in found)
        link = f"[{chapter.title}](../{docname(chapter)}.ipynb)"
        lines.append(f"| {chapter.number} | {link} | {len(found)} | {minutes} | {points} |")
    for chapter, found in exercises.items():
        lines += [
            "",
            f"## {chapter.number}. {chapter.title}",
            "",
            "| exercise | difficulty | minutes |",
            "|---|---|---|",
        ]
        lines += [f"| `{one.name}` | {one.difficulty} of 5 | {one.minutes} |" for one in found]
    return "\n".join(lines) + "\n"


def command_page(root: Path) -> str:
    """What `--help` of each command says."""
    lines = ["# The commands", "", "Each command runs as `python -m NAME` in the course's folder.", ""]
    for command in COMMANDS:
        lines += [f"## {command}", ""]
        for part in ("", *subcommands(root, command)):
            lines += [
                *([f"### {command} {part}", ""] if part else []),
                "```text",
                help_of(root, command, part),
                "```",
                "",
            ]
    return "\n".join(lines)


def subcommands(root: Path, command: str) -> list[str]:
    """The subcommands that a command's help names."""
    found = re.search(r"^  \{([\w,]+)\}$", help_of(root, command), re.MULTILINE)
    return found[1].split(",") if found else []


@cache
def help_of(root: Path, command: str, part: str = "") -> str:
    """The help text of a command."""
    arguments = [sys.executable, "-m", command, *filter(None, [part]), "--help"]
    environment = os.environ | {"COLUMNS": "100"}
    done = subprocess.run(arguments, cwd=root, env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def api_index(chapters: list[Page]) -> str:
    """The way into the API."""
    title = "The API of solutions"
    text = (
        "Each chapter's reference answers are an ordinary Python package. Shapes are written as jaxtyping writes them: "
        "``Float[Tensor, 'n_nodes n_nodes']`` is a tensor of floats with two dimensions of equal length."
    )
    names = [f"   {chapter.path.stem}" for chapter in chapters]
    return "\n".join([title, "=" * len(title), "", text, "", ".. toctree::", "", *names, ""])


def api_page(chapter: Page) -> str:
    """All public functions and classes of a chapter's solutions, file by file."""
    package = chapter.root.joinpath(*chapter.solutions.split("."))
    title = f"Chapter {chapter.number}: {chapter.title}"
    lines = [title, "=" * len(title), "", f".. automodule:: {chapter.solutions}", "   :no-members:", ""]
    for path in sorted(package.glob("[!_]*.py")):
        lines += [path.stem, "-" * len(path.stem), "", f".. automodule:: {chapter.solutions}.{path.stem}"]
        lines += ["   :members:", "   :show-inheritance:", ""]
    return "\n".join(lines)
