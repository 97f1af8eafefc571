"""Put the pages of the docs site in one folder; `make docs` does this, and builds the site.

    .venv/bin/python docs/site.py build

The pages of the repository are read on a code host as well, so they name files anywhere in it.
Here those files come along: the README is the first page, each example becomes a page, and links
are turned to where their files are now. Each package of the library gets a page of its docstrings.
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"(\]\()(?!https?:|#)([^)#\s]+)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
CELL = re.compile(r"^# %%(?: (\[markdown\]))?.*\n", re.MULTILINE)
PACKAGES = {
    "models": "The model families, and what is computed from their outputs.",
    "training": "Optimisers, the training step on many devices, the loop, checkpoints.",
    "data": "Text, tokenizers, tables and tasks, made into batches.",
    "runs": "What makes a run and opens one.",
    "evaluation": "Metrics, zero-shot, probing, and looking inside.",
    "interchange": "Others' formats.",
}


def pages() -> dict[Path, Path]:
    """Where each page and example goes: its file -> its place in the site."""
    docs = ROOT / "docs"
    places = {
        ROOT / "README.md": Path("index.md"),
        ROOT / "CONTRIBUTING.md": Path("contributing.md"),
    }
    for file in [*docs.glob("*.md"), *docs.glob("examples/*.py")]:
        places[file] = file.relative_to(docs).with_suffix(".md")
    for report in ROOT.glob("experiments/reports/*.md"):
        places[report] = Path("reports", report.name)
    return places


def notebook(text: str) -> str:
    """A notebook in percent format as a page: its words, and its code in blocks."""
    _, *cells = CELL.split(text)
    parts = []
    for kind, body in zip(cells[::2], cells[1::2], strict=True):
        if kind:
            parts.append(re.sub(r"^# ?", "", body.strip(), flags=re.MULTILINE))
        else:
            parts.append(f"```python\n{body.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def write_page(file: Path, places: dict[Path, Path], out: Path) -> None:
    """Write a page, and copy the files that it shows or names.

    Raises:
        SystemExit: a link leads nowhere.
    """
    place = places[file]

    def turned(match: re.Match[str]) -> str:
        target = (file.parent / match[2]).resolve()
        if not target.exists():
            raise SystemExit(f"{file}: {match[2]} is not there")
        if target not in places:
            places[target] = Path("files", target.relative_to(ROOT))
            (out / places[target]).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(target, out / places[target])
        return match[1] + os.path.relpath(places[target], place.parent)

    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        text = notebook(text)
    parts = CODE.split(text)  # the odd ones are code
    parts[::2] = [LINK.sub(turned, part) for part in parts[::2]]
    (out / place).parent.mkdir(parents=True, exist_ok=True)
    (out / place).write_text("".join(parts), encoding="utf-8")


def modules(package: str) -> Iterator[str]:
    """The modules of a package that have a docstring, by name."""
    for file in sorted((ROOT / "gptjax" / package).rglob("*.py")):
        if file.name != "__init__.py" and file.read_text(encoding="utf-8").startswith('"""'):
            yield ".".join(file.relative_to(ROOT).with_suffix("").parts)


def write_interface(out: Path) -> None:
    """Write the pages of the library's docstrings."""
    folder = out / "reference"
    folder.mkdir()
    (folder / "index.md").write_text("# The public names\n\n::: gptjax\n", encoding="utf-8")
    for package, about in PACKAGES.items():
        entries = "\n".join(f"::: {module}\n" for module in modules(package))
        text = f"# gptjax.{package}\n\n{about}\n\n{entries}"
        (folder / f"{package}.md").write_text(text, encoding="utf-8")


def main(out: Path) -> None:
    """Write all pages anew in ``out/pages``, and the site's configuration beside them."""
    folder = out / "pages"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    places = pages()
    for file in list(places):
        write_page(file, places, folder)
    write_interface(folder)
    shutil.copy(ROOT / "docs/site.toml", out / "zensical.toml")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
