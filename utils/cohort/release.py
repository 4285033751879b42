"""What students get: notebooks that open from the instructor's fork, and a manifest that says what they were made from."""

import hashlib
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from nbformat import NotebookNode
from tqdm import tqdm

from utils.cohort.batch import digest_of_tests
from utils.grading.course import Outline
from utils.grading.course import chapters as course
from utils.notebooks.address import ADDRESS, badge, repository
from utils.notebooks.building import SETUP, build_notebook
from utils.notebooks.course import as_text, write
from utils.notebooks.reading import Chapter, Code, Exercise, Expected, Given, Markdown

RUN = 40  # so many characters in a row are no accident


class NoRelease(ValueError):
    """The hand-out cannot be made; the text says why."""


def release(
    chapters: Sequence[Outline], out: Path, hints: bool = True, solutions: bool = True, address: str | None = None
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
    for chapter in tqdm(chapters, desc="Building", leave=False):
        name, page = f"{chapter.path.stem}.ipynb", without_telling_hints(chapter.page, secret)
        notebook = build_notebook(page, hints=hints, solutions=solutions)
        point_at(notebook, address, f"{folder}/{name}")
        refuse_secrets(name, notebook, secret)
        texts[name] = text = as_text(notebook)
        digest = hashlib.sha256(text.encode()).hexdigest()
        entry = {"chapter": chapter.number, "notebook": name, "sha256": digest, "tests": digest_of_tests(chapter)}
        entries.append(entry | {"hints_left_out": n_hints(chapter.page) - n_hints(page)})
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


def secrets(pages: Sequence[Chapter]) -> dict[str, str]:
    """All runs of solutions, each with its exercise, that the pages do not show on purpose in text, code or stubs."""
    runs = {run: exercise for page in pages for exercise, body in bodies(page) for run in runs_of(body)}
    shown = {run for page in pages for text in shown_by(page) for run in runs_of(text)}
    return {run: exercise for run, exercise in runs.items() if run not in shown}


def shown_by(page: Chapter) -> Iterator[str]:
    """What a page gives to everyone: all but hints and solutions. Some of it looks like lines of a solution."""
    for cell in page.cells:
        if isinstance(cell, Markdown | Code | Expected):
            yield cell.text
        elif isinstance(cell, Given):
            yield from (page.source(name).text for name in cell.names)
        elif isinstance(cell, Exercise):
            yield cell.statement
            yield page.source(cell.name).stub()


def without_telling_hints(page: Chapter, secret: dict[str, str]) -> Chapter:
    """The page without hints that hold a run of a solution."""

    def cleaned(cell: object) -> object:
        if not isinstance(cell, Exercise):
            return cell
        kept = (hint for hint in cell.hints if not secret.keys() & {*runs_of(hint.title), *runs_of(hint.text)})
        return replace(cell, hints=tuple(kept))

    return replace(page, cells=tuple(map(cleaned, page.cells)))


def n_hints(page: Chapter) -> int:
    """How many hints a page has."""
    return sum(len(exercise.hints) for exercise in page.exercises)


def refuse_secrets(name: str, notebook: NotebookNode, secret: dict[str, str]) -> None:
    """See that no solution stands in a notebook, in whatever cell, output or metadata. Raises NoRelease."""
    for text in texts_in(notebook):
        for run in runs_of(text):
            if run in secret:
                raise NoRelease(f"{name} would give a part of {secret[run]} away: {run!r}.")


def bodies(page: Chapter) -> Iterator[tuple[str, str]]:
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
