"""The answers in a notebook file: found by the names they define, and run each in a namespace of its own.

In the namespace are what the chapter's page imports and gives, the reference answers to all other exercises, and of the
student's other cells what the answer needs: helpers, imports, constants. Nothing else of the notebook is run.
"""

import __future__

import ast
import linecache
import sys
from collections.abc import Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from functools import cached_property
from pathlib import Path
from types import ModuleType

from utils.grading.chapters import Chapter
from utils.grading.find.cells import Cell, read_cells
from utils.grading.find.statements import BrokenPart, CellCode, Statement, parse_cell
from utils.grading.find.untouched import defines, is_untouched, written
from utils.grading.results import Answer
from utils.grading.run.limits import ShortMemory, Stopped, limited
from utils.grading.run.process_state import restored

SECONDS = 60


class NotebookAnswers:
    """The answers to a chapter's exercises in one notebook file."""

    def __init__(self, chapter: Chapter, cells: Iterable[Cell], name: str):
        """`name` is the notebook's, for tracebacks."""
        self.chapter = chapter
        self.notebook = name
        self._cells: dict[int, CellCode] = {}
        self._parts: list[Statement | BrokenPart] = []
        self._retyped: list[Statement | BrokenPart] = []
        for cell in cells:
            self._cells[cell.number] = code = parse_cell(cell.source, cell.number)
            if cell.kind == "code":
                self._parts += code.parts
            elif not any(isinstance(part, BrokenPart) for part in code.parts):
                # an answer whose cell was turned into text by mistake is Python all the same
                self._retyped += code.parts
        self._answers: dict[str, Answer] = {}

    @classmethod
    def read(cls, chapter: Chapter, path: Path) -> "NotebookAnswers":
        """The answers in a file. Raises UnreadableNotebook, in one sentence."""
        return cls(chapter, read_cells(path), Path(path).name)

    def answer(self, name: str) -> Answer:
        """The answer to one exercise; found and run when it is first asked for."""
        if name not in self._answers:
            self._answers[name] = self._find(name)
        return self._answers[name]

    def written(self, name: str) -> list[Statement | BrokenPart]:
        """All parts of code cells that define an answer and are more than the stub; nothing is run."""
        return written(self._parts, name, self.chapter.page.source(name).stub())

    def nodes(self, name: str) -> list[ast.stmt]:
        """What would be run for an answer: its statements, and those that they need; nothing is run."""
        available = [part for part in self._parts if isinstance(part, Statement)]
        own = set(self.chapter.points) | set(self.chapter.page.given_names)
        return [part.node for part in needed_for(name, available, protected=own - {name})]

    def _find(self, name: str) -> Answer:
        stub = self.chapter.page.source(name).stub()
        found, retyped = self.written(name), written(self._retyped, name, stub)
        remarks = []
        if not found and retyped:
            found = retyped[-1:]
            parts = [part for part in self._retyped if part.cell == found[0].cell]
            self._parts += parts
            remarks.append(f"`{name}` was found in cell {found[0].cell}, which is text: turn it into a code cell.")
        if not found:
            if not any(defines(part, name) for part in self._parts):
                remarks.append(f"No cell defines `{name}`.")
            return Answer(name, is_started=False, remarks=remarks)
        whole = [part for part in found if isinstance(part, BrokenPart) or name not in part.needs or part.is_definition]
        if len(whole) > 1:
            places = _listed(sorted({part.cell for part in whole}))
            first_line = next((line.strip() for line in self._cells[whole[-1].cell].lines if line.strip()), "")
            begins = f", in the cell that begins with `{first_line[:60]}`"
            remarks.append(f"`{name}` is defined {len(whole)} times ({places}): the last one counts{begins}.")
        last = found[-1]
        if isinstance(last, BrokenPart):
            return Answer(
                name, problem=f"Cell {last.cell}, line {last.line}, {last.message}: {last.text}", remarks=remarks
            )
        return self._run(name, stub, remarks)

    def _run(self, name: str, stub: str, remarks: list[str]) -> Answer:
        """Run what defines the answer, and what that needs, in a new module."""
        module = self._new_module(name)
        own = self.chapter.references(without=name)
        available = [part for part in self._parts if isinstance(part, Statement)]
        available = [part for part in available if not (defines(part, name) and is_untouched(part, stub))]
        runner = _Runner(vars(module), own, self._flags, self.notebook, self._cells)
        chosen = needed_for(name, available, protected=set(own))
        try:
            with restored(), limited(SECONDS), redirect_stdout(ShortMemory()), redirect_stderr(ShortMemory()):
                runner.run(chosen)
        except Stopped as error:
            return Answer(name, problem=str(error), remarks=remarks)
        missing = runner.missing()
        if name in missing:
            return Answer(name, problem=f"`{name}` could not be defined: {missing[name]}", remarks=remarks)
        remarks += [f"`{helper}`, which `{name}` needs, could not be defined: {why}" for helper, why in missing.items()]
        remarks += [
            f"`{helper}`, which `{name}` needs, means something else from cell {cell} on: that counts."
            for helper, cell in rebound(chosen, name)
        ]
        if not callable(vars(module)[name]):
            return Answer(name, problem=f"`{name}` is no function or class.", remarks=remarks)
        return Answer(name, vars(module)[name], remarks=remarks)

    def _new_module(self, name: str) -> ModuleType:
        """A module with what the chapter's page imports. It is registered, since dataclasses look their module up."""
        module = ModuleType(f"answer_{self.chapter.path.stem}_{name}")
        sys.modules[module.__name__] = module
        vars(module).update(self.imports)
        vars(module)["display"] = lambda *values, **options: None  # notebooks have it
        return module

    @cached_property
    def imports(self) -> dict[str, object]:
        """The names that the page's cells of imports bind."""
        namespace: dict[str, object] = {}
        for cell in self.chapter.page.imports:
            code = parse_cell(cell.text, 0)
            for part in code.parts:
                exec(compile(ast.Module([part.node], []), str(self.chapter.path), "exec"), namespace)
        return {name: value for name, value in namespace.items() if not name.startswith("__")}

    @cached_property
    def _flags(self) -> int:
        """`from __future__ import …` in one cell holds in all that follow."""
        names = {
            alias.name
            for part in self._parts
            if isinstance(part, Statement)
            and isinstance(part.node, ast.ImportFrom)
            and part.node.module == "__future__"
            for alias in part.node.names
        }
        flags = [getattr(__future__, name).compiler_flag for name in names if hasattr(__future__, name)]
        return sum(flags)


class _Runner:
    """Runs statements in a namespace in which some names are kept as they are."""

    def __init__(self, namespace: dict, own: dict[str, object], flags: int, notebook: str, cells: dict[int, CellCode]):
        self.namespace = namespace
        self.own = own
        self.flags = flags
        self.notebook = notebook
        self.cells = cells
        self.failed: dict[Statement, str] = {}
        namespace.update(own)

    def run(self, statements: list[Statement]) -> None:
        """In the order of the notebook. What fails is tried again, as cells may stand in another order than they ran."""
        waiting, latest = list(enumerate(statements)), {}
        while waiting:
            still = []
            for index, part in waiting:
                # what a later statement has bound stays so
                if any(latest.get(name, -1) > index for name in part.binds):
                    continue
                if self._succeeds(part):
                    latest |= dict.fromkeys(part.binds, index)
                else:
                    still.append((index, part))
            if len(still) == len(waiting):
                return
            waiting = still

    def _succeeds(self, part: Statement) -> bool:
        filename = f"<{self.notebook}, cell {part.cell}>"
        lines = self.cells[part.cell].lines
        linecache.cache[filename] = (len(lines), None, [line + "\n" for line in lines], filename)
        try:
            tree = ast.Module([part.node], [])
            exec(compile(tree, filename, "exec", flags=self.flags, dont_inherit=True), self.namespace)
        except Exception as error:
            self.failed[part] = f"{type(error).__name__} in cell {part.cell}: {error}"
            return False
        finally:
            self.namespace.update(self.own)
        self.failed.pop(part, None)
        return True

    def missing(self) -> dict[str, str]:
        """Names that no statement could bind, and why."""
        return {
            name: why
            for part, why in self.failed.items()
            for name in sorted(part.binds - self.namespace.keys() - {"*"})
        }


def needed_for(name: str, statements: list[Statement], protected: set[str]) -> list[Statement]:
    """The statements that bind or change a name, those that bind or change what these need, and so on; in order.

    What an imported module is told, such as `torch.manual_seed(0)`, changes nothing that an answer needs.
    """
    imported = {
        name for part in statements if isinstance(part.node, ast.Import | ast.ImportFrom) for name in part.binds
    }
    chosen: set[int] = set()
    wanted, size = {name, "*"}, -1
    while len(chosen) > size:
        size = len(chosen)
        for index, part in enumerate(statements):
            if (part.binds | (part.touches - imported)) & wanted - protected:
                chosen.add(index)
                wanted |= part.needs
    return [statements[index] for index in sorted(chosen)]


def rebound(statements: list[Statement], name: str) -> Iterator[tuple[str, int]]:
    """Helpers that are bound anew in another cell than the one that defines them, each with that cell."""
    defined: dict[str, int] = {}
    for part in statements:
        for helper in sorted(part.binds - {name, "*"}):
            if part.is_definition:
                defined.setdefault(helper, part.cell)
            if defined.get(helper, part.cell) != part.cell and helper not in part.needs:
                yield helper, part.cell


def _listed(cells: list[int]) -> str:
    if len(cells) == 1:
        return f"in cell {cells[0]}"
    return f"cells {', '.join(map(str, cells[:-1]))} and {cells[-1]}"
