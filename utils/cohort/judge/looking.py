"""Whether an answer names what no answer needs: ways to look at, or change, the program that it runs in. A person should look at it."""

import ast
import itertools
from collections.abc import Iterable

NAMES = {
    "gc",
    "ctypes",
    "_getframe",
    "f_back",
    "f_locals",
    "f_globals",
    "f_code",
    "gi_frame",
    "tb_frame",
    "cr_frame",
    "ag_frame",
}
NAMES |= {
    "__subclasses__",
    "__torch_function__",
    "__torch_dispatch__",
    "settrace",
    "setprofile",
    "currentframe",
    "sys_getframe",
}
PARTS = {
    ("object", "__setattr__"),
    ("object", "__getattribute__"),
    ("torch", "_C"),
    ("inspect", "stack"),
    ("sys", "modules"),
}


def named(nodes: Iterable[ast.AST]) -> list[str]:
    """The suspicious names in some code, sorted."""
    found: set[str] = set()
    for node in itertools.chain.from_iterable(map(ast.walk, nodes)):
        if isinstance(node, ast.Attribute):
            found |= {node.attr} & NAMES
            if isinstance(node.value, ast.Name) and (node.value.id, node.attr) in PARTS:
                found.add(f"{node.value.id}.{node.attr}")
        elif isinstance(node, ast.Name):
            found |= {node.id} & NAMES
        elif isinstance(node, ast.FunctionDef):
            found |= {node.name} & NAMES
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            found |= {part for module in modules for part in module.split(".")} & NAMES
            found |= {"torch._C"} if any(module.startswith("torch._C") for module in modules) else set()
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} & NAMES
    return sorted(found)
