"""No function longer than a screen, no file longer than a few of them."""

import ast
from pathlib import Path

import gptjax

PACKAGE = Path(gptjax.__file__).parent
FUNCTION, FILE = 60, 350  # lines


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def too_long(path: Path) -> list[str]:
    """`name: lines` of each function of a file that is too long, with its docstring."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            if (length := node.end_lineno - node.lineno + 1) > FUNCTION:
                found.append(f"{node.name}: {length}")
    return found


def files() -> dict[str, Path]:
    """Every file of the package by its name inside it."""
    return {path.relative_to(PACKAGE).as_posix(): path for path in sorted(PACKAGE.rglob("*.py"))}


def test_no_function_is_longer_than_a_screen():
    assert [f"{name} {one}" for name, path in files().items() for one in too_long(path)] == []


def test_no_file_is_too_long():
    assert [name for name, path in files().items() if lines_of(path) > FILE] == []


def test_a_long_function_is_seen(tmp_path):
    body = "\n".join(f"    x = {i}" for i in range(FUNCTION))
    (tmp_path / "a.py").write_text(
        f"def f():\n{body}\n\n\nclass A:\n    async def g(self):\n        ...\n"
    )
    assert too_long(tmp_path / "a.py") == [f"f: {FUNCTION + 1}"]
