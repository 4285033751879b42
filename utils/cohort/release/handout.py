"""What students get: notebooks that open from the instructor's fork, and a manifest that says what they were made from."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from nbformat import NotebookNode
from tqdm import tqdm

from utils.cohort.versions import digest_of_tests
from utils.grading.chapters import Chapter
from utils.grading.chapters import chapters as course
from utils.notebooks.address import ADDRESS, badge, repository
from utils.notebooks.build import as_text, write
from utils.notebooks.make_cells import SETUP, build_notebook
from utils.notebooks.page import Page

RUN = 40  # so many characters in a row are no accident
WHERE = """
**On Colab:** press the badge, then *Copy to Drive*. **On your own computer:** get the course (`git clone {address}`), install it as its README
says, and put this notebook into its folder `chapters`, in the place of the one with the same name. Then this command, in the course's
folder, runs all tests of the chapter: `python -m pytest {tests}`."""


class NoRelease(ValueError):
    """The hand-out cannot be made; the text says why."""


def release(
    chapters: Sequence[Chapter], out: Path, hints: bool = True, solutions: bool = True, address: str | None = None
) -> list[Path]:
    """Write the notebooks of some chapters and `manifest.json` into a new folder; returns what was written.

    `address` is that of the instructor's fork, where `out` is to lie at the top or where it lies below the course's folder now.
    Raises NoRelease, and CourseError for a page that cannot be built; nothing is written then.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise NoRelease(f"{out} is not empty: name a new folder.")
    root = chapters[0].root
    address = (address or repository(root)).rstrip("/").removesuffix(".git")
    if not ADDRESS.fullmatch(address):
        raise NoRelease(f"{address} is no address like https://github.com/OWNER/REPO.")
    inside = out.resolve().is_relative_to(root)
    folder = out.resolve().relative_to(root).as_posix() if inside else out.resolve().name
    secret = {} if solutions else secrets([chapter.page for chapter in course(root)])
    texts, entries = {}, []
    for chapter in tqdm(chapters, desc="Building", leave=False, disable=None):
        name = f"{chapter.path.stem}.ipynb"
        notebook = build_notebook(chapter.page, hints=hints, solutions=solutions)
        point_at(notebook, address, f"{folder}/{name}")
        say_where_it_goes(notebook, address, chapter.tests.relative_to(root).as_posix())
        refuse_secrets(name, notebook, secret)
        texts[name] = text = as_text(notebook)
        digest = hashlib.sha256(text.encode()).hexdigest()
        entries.append(
            {"chapter": chapter.number, "notebook": name, "sha256": digest, "tests": digest_of_tests(chapter)}
        )
    manifest = {"repository": address, "hints": hints, "solutions": solutions, "chapters": entries}
    texts["manifest.json"] = json.dumps(manifest, indent=1) + "\n"
    for name, text in texts.items():
        write(out / name, text)
    return [out / name for name in texts]


def point_at(notebook: NotebookNode, address: str, place: str) -> None:
    """Make the badge and the setup cell lead to a repository."""
    cells = {cell.id: cell for cell in notebook.cells}
    cells["badge"].source = badge(address, place)
    cells["setup"].source = SETUP.format(address=address, folder=address.rsplit("/")[-1])


def say_where_it_goes(notebook: NotebookNode, address: str, tests: str) -> None:
    """Below the badge: where the notebook is opened, and how it is graded."""
    cells = {cell.id: cell for cell in notebook.cells}
    cells["badge"].source += "\n" + WHERE.format(address=address, tests=tests)


def secrets(pages: Sequence[Page]) -> dict[str, str]:
    """All runs of all solutions, each with its exercise."""
    return {run: exercise for page in pages for exercise, body in bodies(page) for run in runs_of(body)}


def refuse_secrets(name: str, notebook: NotebookNode, secret: dict[str, str]) -> None:
    """See that no solution stands in a notebook, in whatever cell, output or metadata. Raises NoRelease."""
    for text in texts_in(notebook):
        for run in runs_of(text):
            if run in secret:
                raise NoRelease(
                    f"{name} would give a part of {secret[run]} away: {run!r}. Write it in other words, on the page or in the solution."
                )


def bodies(page: Page) -> Iterator[tuple[str, str]]:
    """For each exercise, what stands between its markers."""
    for exercise in page.exercises:
        source = page.source(exercise.name)
        lines = source.text.splitlines()
        for begin, end in source.regions:
            yield exercise.name, "\n".join(lines[begin + 1 : end])


def runs_of(text: str) -> Iterator[str]:
    """All runs of `RUN` characters, spaces and line breaks aside."""
    text = re.sub(r"\s+", " ", text).strip()
    return (text[start : start + RUN] for start in range(len(text) - RUN + 1))


def texts_in(value: object) -> Iterator[str]:
    """All texts in a notebook, keys included. Pictures, which are one long word, count as well."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from texts_in(key)
            yield from texts_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from texts_in(inner)
