"""Whether an answer is still the stub that the student was given."""

import ast


def is_stub(node: ast.stmt, stub: str) -> bool:
    """Whether a definition is the stub, whatever its comments, docstrings and formatting, or does nothing but raise."""
    try:
        return _only_raises(node) or _bare(node) == _bare(ast.parse(stub).body[0])
    except RecursionError:  # deeper than any stub
        return False


def _only_raises(node: ast.stmt) -> bool:
    """A function without a body: it raises NotImplementedError, or there is a `pass` or `...`."""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return False
    body = _without_docstring(node.body)
    return all(isinstance(part, ast.Pass) or _is_text_or_dots(part) or _raises_not_implemented(part) for part in body)


def _raises_not_implemented(node: ast.stmt) -> bool:
    if not isinstance(node, ast.Raise) or node.exc is None:
        return False
    raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
    return isinstance(raised, ast.Name) and raised.id == "NotImplementedError"


def _is_text_or_dots(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _without_docstring(body: list[ast.stmt]) -> list[ast.stmt]:
    return body[1:] if body and _is_text_or_dots(body[0]) else body


def _bare(node: ast.stmt) -> str:
    """The structure of a definition without docstrings."""
    copy = ast.parse(ast.unparse(node)).body[0]
    for inner in ast.walk(copy):
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inner.body = _without_docstring(inner.body)
    return ast.dump(copy)
