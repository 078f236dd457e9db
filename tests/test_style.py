"""Ceilings that keep the code readable: lines of a file, lines of a function with its docstring."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "src" / "aetia"
FILES = sorted(SOURCE.rglob("*.py"))
LINES_OF_A_FILE, LINES_OF_A_FUNCTION = 600, 60


@functools.cache
def functions(path: Path) -> list[tuple[str, int]]:
    """Name and lines, signature and docstring included, decorators not."""
    found = [
        n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return [(node.name, (node.end_lineno or node.lineno) - node.lineno + 1) for node in found]


def test_no_file_is_longer_than_it_may_be() -> None:
    lengths = {str(path.relative_to(SOURCE)): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > LINES_OF_A_FILE} == {}


def test_no_function_is_longer_than_it_may_be() -> None:
    found = [(str(path.relative_to(SOURCE)), name, lines) for path in FILES for name, lines in functions(path)]
    assert [where for where in found if where[-1] > LINES_OF_A_FUNCTION] == []


def test_the_ceilings_see_the_code() -> None:
    assert len(FILES) > 100 and sum(len(functions(path)) for path in FILES) > 1000
