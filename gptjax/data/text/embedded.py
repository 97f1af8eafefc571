"""Real English that is on every machine: Python's language reference and docstrings.

The reference is `pydoc_data.topics`; the docstrings are those of the standard library and of
packages that gptjax depends on, read from their source files without importing them.
"""

import ast
import functools
import importlib.util
import inspect
import sysconfig
import warnings
from collections.abc import Iterator
from pathlib import Path

# In this order, until LIMIT_BYTES are there. All are dependencies of gptjax.
PACKAGES = ("numpy", "optax", "flax", "scipy", "sklearn", "jax", "datasets")
LIMIT_BYTES = 5_000_000
# Shorter ones are mostly a name in other words.
SHORTEST_DOCSTRING = 40
SKIPPED_FOLDERS = frozenset(
    {"test", "tests", "testing", "_vendor", "idlelib", "lib2to3", "site-packages", "__pycache__"}
)


@functools.cache
def embedded_documents() -> tuple[tuple[str, str], ...]:
    """The embedded corpus as (name, text) pairs, in an order that the installed versions fix.

    One document per topic of the reference, then one per module: its docstrings in the order
    of the source, joined by blank lines, without repetitions and very short ones. About 5 MB;
    whatever would go past that is left out, whole documents at a time.
    """
    documents: list[tuple[str, str]] = []
    seen: set[str] = set()
    size = 0
    for name, docstrings in _modules():
        fresh = [text for text in dict.fromkeys(docstrings) if text not in seen]
        seen.update(fresh)
        if not fresh:
            continue
        text = "\n\n".join(fresh) + "\n"
        size += len(text.encode())
        if size > LIMIT_BYTES:
            break
        documents.append((name, text))
    return tuple(documents)


def _modules() -> Iterator[tuple[str, list[str]]]:
    from pydoc_data.topics import topics  # 0.5 MB of text, wanted here only.

    for name in sorted(topics):
        yield f"reference/{name}", [_clean(topics[name])]
    yield from _package("python", Path(sysconfig.get_path("stdlib")))
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        if spec and spec.origin:
            yield from _package(package, Path(spec.origin).parent)


def _package(name: str, folder: Path) -> Iterator[tuple[str, list[str]]]:
    for file in sorted(folder.rglob("*.py")):
        inner = file.relative_to(folder)
        if SKIPPED_FOLDERS.isdisjoint(inner.parts):
            yield f"{name}/{inner.as_posix()}", list(_docstrings(file))


def _docstrings(file: Path) -> Iterator[str]:
    try:
        with warnings.catch_warnings():  # Others' invalid escapes are none of our user's business.
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError):
        return
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = _clean(ast.get_docstring(node, clean=False) or "")
            if len(text) >= SHORTEST_DOCSTRING:
                yield text
        for block in ("body", "orelse", "finalbody"):
            statements = getattr(node, block, None)
            if isinstance(statements, list):
                pending += reversed(statements)


def _clean(text: str) -> str:
    """Dedented, without trailing spaces, and only what UTF-8 can write (no half surrogates)."""
    lines = inspect.cleandoc(text.replace("\0", "")).split("\n")
    text = "\n".join(line.rstrip() for line in lines).strip()
    return text.encode("utf-8", "ignore").decode()
