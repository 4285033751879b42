"""Whether an answer is a known one with other names: a person should look at it, who knows that short answers are alike."""

import ast


def is_like(answer: ast.stmt | None, reference: str) -> bool:
    """Whether a definition is the same as another but for names, comments, docstrings, annotations and formatting."""
    return answer is not None and normal_form(answer) == normal_form(ast.parse(reference).body[0])


def normal_form(node: ast.stmt) -> str:
    """The structure of a definition, its names numbered in the order in which they come."""
    try:
        copy = ast.parse(ast.unparse(node))
        return ast.dump(_Renamed().visit(copy))
    except (RecursionError, ValueError, SyntaxError):
        return ""


class _Renamed(ast.NodeTransformer):
    def __init__(self):
        self.numbers: dict[str, str] = {}

    def _number(self, name: str) -> str:
        return self.numbers.setdefault(name, f"n{len(self.numbers)}")

    def visit_Name(self, node: ast.Name) -> ast.AST:
        return ast.Name(self._number(node.id), node.ctx)

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return ast.arg(self._number(node.arg), None)

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        return ast.keyword(node.arg, self.visit(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST | None:
        if node.value is None:
            return None
        return self.visit(ast.copy_location(ast.Assign([node.target], node.value), node))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.name = self._number(node.name)
        node.returns = None
        return self._definition(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.name = self._number(node.name)
        return self._definition(node)

    def _definition(self, node: ast.FunctionDef | ast.ClassDef) -> ast.AST:
        if node.body and isinstance(node.body[0], ast.Expr) and isinstance(node.body[0].value, ast.Constant):
            node.body = node.body[1:] or [ast.Pass()]
        return self.generic_visit(node)
