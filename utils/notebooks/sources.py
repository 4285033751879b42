"""The source of a solution: where it is, the stub a student gets, the answer without markers."""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from utils.notebooks.errors import CourseError

BEGIN = "### BEGIN SOLUTION"
END = "### END SOLUTION"
LIKE_A_MARKER = re.compile(r"\s*#+\s*(begin|end)\s+solution\b", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """A top-level definition: its text and where it stands."""

    text: str
    path: Path
    line: int
    module: str
    node: ast.stmt

    @cached_property
    def regions(self) -> list[tuple[int, int]]:
        """Where the markers are: pairs of indices into the lines of `text`. Raises CourseError."""
        found, begin = [], None
        for index, line in enumerate(self.text.splitlines()):
            if not LIKE_A_MARKER.match(line):
                continue
            marker = line.strip()
            if marker not in (BEGIN, END):
                raise self.error(index, f"write the marker as `{BEGIN}` or `{END}`, not as `{marker}`.")
            if marker == BEGIN and begin is None:
                begin = index
            elif marker == END and begin is not None:
                found.append((begin, index))
                begin = None
            else:
                expected = END if marker == BEGIN else BEGIN
                raise self.error(index, f"`{marker}` stands where `{expected}` should come first.")
        if begin is not None:
            raise self.error(begin, f"`{BEGIN}` has no `{END}` before the definition ends.")
        return found

    def stub(self) -> str:
        """The source as a student gets it: what stands between markers is replaced by a line that raises."""
        if not isinstance(self.node, ast.FunctionDef | ast.ClassDef):
            raise self.error(0, "an exercise must be a function or a class.")
        if not self.regions:
            raise self.error(0, f"nothing is left to the student: put `{BEGIN}` and `{END}` around what they write.")
        lines = self.text.splitlines()
        for begin, end in reversed(self.regions):
            indent = lines[begin][: lines[begin].index("#")]
            lines[begin : end + 1] = [f"{indent}# YOUR CODE HERE", f"{indent}raise NotImplementedError()"]
        stub = "\n".join(lines)
        try:
            ast.parse(stub)
        except SyntaxError as error:
            raise self.error(
                self.regions[0][0], f"without what stands between the markers this is not Python: {error.msg}."
            ) from error
        return stub

    def answer(self) -> str:
        """The source without the lines of the markers."""
        markers = {index for region in self.regions for index in region}
        return "\n".join(line for index, line in enumerate(self.text.splitlines()) if index not in markers)

    def error(self, index: int, sentence: str) -> CourseError:
        """An error at a line of this source."""
        return CourseError(self.path, self.line + index, sentence)


def find_sources(root: Path, package: str) -> dict[str, list[Source]]:
    """All top-level functions, classes and constants of a package or module below `root`, by name.

    The files are parsed, not imported. Raises CourseError for one that is not Python.
    """
    place = root.joinpath(*package.split("."))
    files = sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    found: dict[str, list[Source]] = {}
    for path in files:
        text = path.read_text(encoding="utf-8")
        lines = text.splitlines()
        for node in parse(path, text).body:
            first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", []))])
            source = "\n".join(lines[first - 1 : end_of(node, lines)])
            for name in names_of(node):
                found.setdefault(name, []).append(Source(source, path, first, module_of(root, path), node))
    return found


def missing_exports(root: Path, package: str, names: Iterable[str]) -> Iterator[CourseError]:
    """Names that a package of solutions cannot be asked for, since its `__init__.py` does not bind them. Nothing is imported.

    Each error has the line where the module that defines the name is imported, or 1. Raises CourseError for a file that is not Python.
    """
    path = root.joinpath(*package.split("."), "__init__.py")
    if not path.is_file():  # a module binds what it defines
        return
    bound, lines = set(), {}
    for node in parse(path, path.read_text(encoding="utf-8")).body:
        bound.update(names_of(node))
        if isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
            lines.setdefault(getattr(node, "module", None), node.lineno)
    missing = [] if "*" in bound else [name for name in names if name not in bound]
    sources = find_sources(root, package) if missing else {}
    for name in missing:
        module = sources[name][0].module if name in sources else None
        where = f"import it here from `{module}`" if module else "and no file of the package defines it"
        yield CourseError(
            path, lines.get(module, 1), f"`{name}` is an exercise, but the package does not export it: {where}."
        )


def end_of(node: ast.stmt, lines: list[str]) -> int:
    """The last line of a definition. Indented comments that follow belong to it, a closing marker for one."""
    end = node.end_lineno
    for number, line in enumerate(lines[end:], start=end + 1):
        if re.match(r"\s+#", line):
            end = number
        elif line.strip():
            break
    return end


def parse(path: Path, text: str) -> ast.Module:
    """The syntax tree of a file. Raises CourseError with the line."""
    try:
        return ast.parse(text)
    except SyntaxError as error:
        raise CourseError(path, error.lineno or 1, f"this is not Python: {error.msg}.") from error


def names_of(node: ast.stmt) -> list[str]:
    """The names that a top-level statement defines, imports left out."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def module_of(root: Path, path: Path) -> str:
    """The dotted name of a file below `root`."""
    parts = list(path.relative_to(root).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
