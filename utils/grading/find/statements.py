"""From the text of a cell to Python statements: notebook commands are taken out, what does not parse is set apart."""

import ast
import re
import symtable
from collections.abc import Iterator
from dataclasses import dataclass, field

# Cell magics whose cell is Python all the same.
TRANSPARENT = {"time", "timeit", "capture", "prun", "memit", "mprun", "lprun", "debug"}
# A line that is for the notebook, not for Python: !pip, %cd, ?name, name?, x = !ls, x = %magic.
COMMAND = re.compile(r"([!%?]|[\w.,\s]+=\s*[!%]|[\w.]+\?{1,2}\s*$)")
DEFINITION = re.compile(r"(?:async\s+)?(?:def|class)\s+(\w+)")
TOP_LEVEL = re.compile(r"[^\s#)\]}]")


@dataclass(frozen=True)
class Statement:
    """One top-level statement of a cell.

    Attributes:
        binds: names that it binds, or whose elements or attributes it sets.
        needs: names that it uses from elsewhere.
        touches: names on which it calls a method for its effect alone.
    """

    node: ast.stmt
    cell: int
    binds: frozenset[str]
    needs: frozenset[str]
    touches: frozenset[str]

    @property
    def is_definition(self) -> bool:
        return isinstance(self.node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)


@dataclass(frozen=True)
class BrokenPart:
    """A part of a cell that does not parse, with the names that it would define."""

    names: frozenset[str]
    cell: int
    line: int
    message: str
    text: str


@dataclass
class CellCode:
    """All that one cell holds, in order."""

    lines: list[str]
    parts: list[Statement | BrokenPart] = field(default_factory=list)


def parse_cell(source: str, number: int) -> CellCode:
    """The statements of a cell. Lines keep their numbers."""
    source = _without_cell_magic(source)
    lines = source.split("\n")
    tree = _parse(source)
    if isinstance(tree, ast.Module):
        return CellCode(lines, _statements(tree, number))
    code = CellCode(lines)
    for start, part in _top_level_parts(lines):
        tree = _parse("\n" * start + part)
        if isinstance(tree, ast.Module):
            code.parts += _statements(tree, number)
        else:
            code.parts.append(_broken(tree, part, start, number, lines))
    return code


def _without_cell_magic(source: str) -> str:
    """Without a `%%magic` line; of a magic whose cell is not Python, nothing is left."""
    found = re.match(r"\s*%%(\w*)(.*)", source)
    if not found:
        return source
    blank = re.sub(r"[^\n]", "", source[: found.end()])
    # a module that a cell writes, for another cell to import
    is_module = found[1] == "writefile" and found[2].strip().endswith(".py")
    return blank + source[found.end() :] if found[1] in TRANSPARENT or is_module else ""


def _parse(source: str) -> ast.Module | SyntaxError:
    """The tree. Where Python stumbles over a notebook command, the line is replaced by `pass` and it is tried again."""
    lines = source.split("\n")
    for _ in range(len(lines) + 1):
        try:
            return ast.parse("\n".join(lines))
        except SyntaxError as error:
            problem = error
        except (ValueError, RecursionError, MemoryError) as error:  # null bytes, absurd nesting
            return SyntaxError(str(error), (None, 1, 1, ""))
        at = (problem.lineno or 1) - 1
        if at >= len(lines) or not COMMAND.match(lines[at].lstrip()):
            return problem
        _replace_command(lines, at)
    return problem


def _replace_command(lines: list[str], at: int) -> None:
    """Put `pass` in the place of a command, and nothing in that of its continuation lines."""
    continues = lines[at].rstrip().endswith("\\")
    lines[at] = lines[at][: len(lines[at]) - len(lines[at].lstrip())] + "pass"
    while continues and at + 1 < len(lines):
        at += 1
        continues = lines[at].rstrip().endswith("\\")
        lines[at] = ""


def _top_level_parts(lines: list[str]) -> list[tuple[int, str]]:
    """The cell cut before each definition at the left margin (before its decorators): (lines before it, text)."""
    starts, decorators = [0], None
    for i, line in enumerate(lines):
        if line.startswith("@"):
            decorators = i if decorators is None else decorators
        elif DEFINITION.match(line):
            starts.append(i if decorators is None else decorators)
            decorators = None
        elif TOP_LEVEL.match(line):
            # a statement after a definition must not go down with it
            starts.append(i)
            decorators = None
    starts = sorted(set(starts))
    ends = [*starts[1:], len(lines)]
    return [(start, "\n".join(lines[start:end])) for start, end in zip(starts, ends)]


def _broken(error: SyntaxError, part: str, start: int, number: int, lines: list[str]) -> BrokenPart:
    line = min(max(error.lineno or 1, start + 1), len(lines))
    names = frozenset(found[1] for found in map(DEFINITION.match, part.split("\n")) if found)
    return BrokenPart(names, number, line, error.msg or "it does not parse", lines[line - 1].strip())


def _statements(tree: ast.Module, number: int) -> list[Statement | BrokenPart]:
    return [Statement(node, number, *_names(node), frozenset(_called_on(node))) for node in tree.body]


def _names(node: ast.stmt) -> tuple[frozenset[str], frozenset[str]]:
    """The names that a statement binds (or changes, as in `table["a"] = 1`), and those it uses but does not bind inside."""
    try:
        table = symtable.symtable(ast.unparse(node), "cell", "exec")
    except RecursionError:  # too deep to be written down again, such as a sum of many terms
        names = {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name)}
        return frozenset(filter(None, [getattr(node, "name", "")])), frozenset(names)
    except (SyntaxError, ValueError):  # parses, but cannot be compiled, such as a `return` outside
        return frozenset(), frozenset()
    symbols = table.get_symbols()
    binds = {s.get_name() for s in symbols if s.is_assigned() or s.is_imported() or s.is_namespace()}
    needs = {s.get_name() for s in symbols if s.is_referenced()}
    if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
        binds.add("*")
    changed = _changed(node)
    return frozenset(binds | changed), frozenset(needs | changed | _used_inside(table))


def _used_inside(table: symtable.SymbolTable) -> set[str]:
    """Global names that functions and classes use or set, however deep."""
    used: set[str] = set()
    for child in table.get_children():
        used |= {s.get_name() for s in child.get_symbols() if s.is_global()}
        used |= _used_inside(child)
    return used


def _inside(node: ast.stmt) -> Iterator[ast.stmt]:
    """A statement, and those in its blocks. Functions and classes are not looked into."""
    yield node
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return
    for part in ast.iter_child_nodes(node):
        inner = part.body if isinstance(part, ast.ExceptHandler | ast.match_case) else [part]
        for statement in inner:
            if isinstance(statement, ast.stmt):
                yield from _inside(statement)


def _changed(node: ast.stmt) -> set[str]:
    """Names whose attributes or elements a statement sets, also in its blocks."""
    targets = [t for part in _inside(node) for t in getattr(part, "targets", [getattr(part, "target", None)])]
    parts = [part for target in targets for part in getattr(target, "elts", [target])]
    return {_root(part) for part in parts if isinstance(part, ast.Attribute | ast.Subscript)} - {""}


def _called_on(node: ast.stmt) -> set[str]:
    """Names on which a statement, or one in its blocks, calls a method for its effect alone, as `order.sort()` does."""
    calls = [part.value for part in _inside(node) if isinstance(part, ast.Expr) and isinstance(part.value, ast.Call)]
    return {_root(call.func) for call in calls if isinstance(call.func, ast.Attribute)} - {""}


def _root(node: ast.expr) -> str:
    """The name at the beginning of `name.part[0].part`; empty for other things."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
