"""The changes, each at one place in a module's syntax tree.

No change is made to annotations, names of types, decorators, docstrings, logging and
sentences for people (texts with a space), since no decision depends on them.
"""

from __future__ import annotations

import ast
import copy
import re
import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

_COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
#: An assignment from one of these names a type.
_TYPES = ("Callable", "Literal", "Mapping")
_PATTERNS = ("compile", "fullmatch", "match", "search", "split", "sub")


class Mutant(NamedTuple):
    """One changed module."""

    number: int
    line: int
    #: The lines of the changed statement, or of a compound statement's head.
    lines: range
    before: str
    after: str
    tree: ast.Module


def mutants(source: str, every: int = 1) -> Iterator[Mutant]:
    """Return a module's mutants in the order of lines: all, or one of `every`."""
    number = 0
    while True:
        changer = _Changer(number)
        tree = changer.visit(ast.parse(source))
        if changer.made is None:
            return
        line, lines, before, after = changer.made
        tree = ast.fix_missing_locations(tree)
        yield Mutant(number, line, lines, before, after, tree)
        number += every


class _Changer(ast.NodeTransformer):
    """Visits a tree and makes the change with the wanted number, and no other."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._seen = 0
        self._lines = range(0)
        self.made: tuple[int, range, str, str] | None = None

    def visit(self, node: ast.AST) -> Any:
        """Visit a node; a statement's lines are recorded for the changes in it."""
        if isinstance(node, ast.stmt | ast.ExceptHandler):
            body = getattr(node, "body", None)
            end = body[0].lineno if body else (node.end_lineno or node.lineno) + 1
            self._lines = range(node.lineno, max(end, node.lineno + 1))
        return super().visit(node)

    def _one_of(self, node: ast.AST, others: list[ast.AST]) -> ast.AST:
        """Return the node, or the wanted one of `others` in its place."""
        for other in others:
            if self._seen == self._wanted:
                self._seen += 1
                line: int = node.lineno  # type: ignore[attr-defined]
                lines = self._lines if line in self._lines else range(line, line + 1)
                self.made = (line, lines, _text(node), _text(other))
                return ast.copy_location(other, node)
            self._seen += 1
        return node

    def _changed(self, node: Any, change: Callable[[Any], None]) -> Any:
        other = copy.deepcopy(node)
        change(other)
        return other

    # --- left alone ----------------------------------------------------------------

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        return node

    def visit_arg(self, node: ast.arg) -> ast.AST:
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def _function(self, node: Any) -> Any:
        node.args = self.visit(node.args)
        node.body = self._statements(node.body)
        return node

    visit_FunctionDef = visit_AsyncFunctionDef = _function

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.body = self._statements(node.body)
        return node

    def visit_Module(self, node: ast.Module) -> ast.AST:
        node.body = self._statements(node.body)
        return node

    def _statements(self, body: list[Any]) -> list[Any]:
        return [s if _is_docstring(s) else self.visit(s) for s in body]

    # --- statements ----------------------------------------------------------------

    def visit_Expr(self, node: ast.Expr) -> ast.AST:
        if _is_docstring(node) or _is_logging(node.value):
            return node
        return self._one_of(self.generic_visit(node), [ast.Pass()])

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        return self._one_of(self.generic_visit(node), [ast.Pass()])

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        return self._one_of(self.generic_visit(node), [ast.Pass()])

    def visit_Break(self, node: ast.Break) -> ast.AST:
        return self._one_of(node, [ast.Continue()])

    def visit_Continue(self, node: ast.Continue) -> ast.AST:
        return self._one_of(node, [ast.Break()])

    def visit_Return(self, node: ast.Return) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        if node.value is None or _is_none(node.value):
            return node
        return self._one_of(node, [ast.Return(ast.Constant(None))])

    def visit_Assign(self, node: ast.Assign) -> ast.AST:
        if isinstance(node.value, ast.Subscript) and _text(node.value.value) in _TYPES:
            return node
        node = self.generic_visit(node)  # type: ignore[assignment]
        if _is_none(node.value) or isinstance(node.value, ast.Constant):
            return node
        none = self._changed(node, lambda n: setattr(n, "value", ast.Constant(None)))
        return self._one_of(node, [none])

    def visit_If(self, node: ast.If) -> ast.AST:
        if "TYPE_CHECKING" in _text(node.test):
            return node
        node.test = self._condition(node.test)
        node.body = self._statements(node.body)
        node.orelse = self._statements(node.orelse)
        return node

    def visit_While(self, node: ast.While) -> ast.AST:
        node.test = self._condition(node.test)
        node.body = self._statements(node.body)
        return node

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.AST:
        node.body = self._statements(node.body)
        raises = self._changed(node, lambda n: setattr(n, "body", [ast.Raise()]))
        return self._one_of(node, [raises])

    # --- expressions ---------------------------------------------------------------

    def _condition(self, test: ast.expr) -> Any:
        negated = ast.UnaryOp(ast.Not(), copy.deepcopy(test))
        visited = self.visit(test)
        is_turned = isinstance(visited, ast.Compare | ast.UnaryOp)
        return visited if is_turned else self._one_of(visited, [negated])

    def visit_IfExp(self, node: ast.IfExp) -> ast.AST:
        node.test = self._condition(node.test)
        node.body, node.orelse = self.visit(node.body), self.visit(node.orelse)
        return node

    def visit_comprehension(self, node: ast.comprehension) -> ast.AST:
        node.iter = self.visit(node.iter)
        node.ifs = [self._condition(test) for test in node.ifs]
        return node

    def visit_Compare(self, node: ast.Compare) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        others: list[ast.AST] = []
        for i, operator in enumerate(node.ops):
            for other in _COMPARISONS[type(operator)]:
                made = copy.deepcopy(node)
                made.ops[i] = other()
                others.append(made)
        return self._one_of(node, others)

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        others = [self._changed(node, lambda n: setattr(n, "op", other))]
        for i in range(len(node.values)):
            others.append(self._changed(node, lambda n, i=i: n.values.pop(i)))
            if len(others[-1].values) == 1:
                others[-1] = others[-1].values[0]
        return self._one_of(node, others)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        return self._one_of(node, [copy.deepcopy(node.operand)])

    def visit_BinOp(self, node: ast.BinOp) -> ast.AST:
        node = self.generic_visit(node)  # type: ignore[assignment]
        other = _ARITHMETIC.get(type(node.op))
        if other is None:
            return node
        return self._one_of(
            node, [self._changed(node, lambda n: setattr(n, "op", other()))]
        )

    def visit_Await(self, node: ast.Await) -> ast.AST:
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        if _is_logging(node):
            return node
        if _called(node) in _PATTERNS and node.args:
            self._pattern(node)
            return node
        node = self.generic_visit(node)  # type: ignore[assignment]
        others = [
            self._changed(node, lambda n, i=i: n.keywords.pop(i))
            for i in range(len(node.keywords))
        ]
        return self._one_of(node, others)

    def _pattern(self, node: ast.Call) -> None:
        """Remove a character from the regular expression in a call."""
        for i, given in enumerate(node.args):
            if isinstance(given, ast.Constant) and isinstance(given.value, str | bytes):
                shorter = [ast.Constant(text) for text in _shorter(given.value)]
                node.args[i] = self._one_of(given, shorter)  # type: ignore[assignment, arg-type]
            elif not isinstance(given, ast.Attribute):
                node.args[i] = self.visit(given)

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return self._one_of(node, [ast.Constant(v) for v in _others(node.value)])


def _others(value: Any) -> list[Any]:
    if value is None or value is Ellipsis:
        return []
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int):
        return [value + 1] if value in (0, 1) else [value + 1, value - 1]
    if isinstance(value, float):
        return [value + 1]
    space, further = (" ", "XX") if isinstance(value, str) else (b" ", b"XX")
    return [] if space in value.strip() else [value + further]


def _shorter(pattern: Any) -> Iterator[Any]:
    """Return a regular expression without one of its characters."""
    seen = {pattern}
    for i in range(len(pattern)):
        shorter = pattern[:i] + pattern[i + 1 :]
        if shorter in seen:
            continue
        seen.add(shorter)
        try:
            with warnings.catch_warnings(action="error"):
                re.compile(shorter)
        except (re.error, Warning):
            continue
        yield shorter


def _text(node: ast.AST) -> str:
    try:
        return ast.unparse(ast.fix_missing_locations(copy.deepcopy(node)))
    except (AttributeError, ValueError):
        return type(node).__name__


def _is_docstring(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_none(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_logging(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and _text(node.func).startswith("logger.")


def _called(node: ast.Call) -> str:
    is_re = isinstance(node.func, ast.Attribute) and _text(node.func.value) == "re"
    return node.func.attr if is_re else ""  # type: ignore[attr-defined]
