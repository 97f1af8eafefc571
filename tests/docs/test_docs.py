"""The Markdown files: plain sentences, links that lead somewhere, and names that exist.

The options of commands are read from the source, so that this is quick: no command is imported.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptjax.cli import COMMANDS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "gptjax"
OURS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
ALL = [*OURS, *sorted(ROOT.glob("experiments/**/*.md"))]
LONG_WORDS, LONG_SENTENCES = 30, 10
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
NAMED = re.compile(r"`((?:gptjax|experiments|tests|docs|\.ci)/[\w./*-]+|[\w/]+\.py)`")
ENTRY = re.compile(r"^\| \*\*(.+?)\*\* \|", re.MULTILINE)
# Every word of our own that a reader of the docs meets.
WORDS = """
    arm, backbone, bucket, curve checkpoint, embedded corpus, exact mode, family, fast mode,
    feature, fidelity, fingerprint, heads, held back, kind, micro-batch, objective, offline sample,
    point, preset, probe, released weights, run, run folder, separator, sequence autoencoder,
    special rows, sweep, task file, task head, traversal, unit, update, variant, width, window
"""


def prose(text: str) -> str:
    """The text without code blocks, tables, headings and comments."""
    text = FENCE.sub("\n\n", re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL))
    kept = []
    for line in text.splitlines():
        if line.startswith(("#", "|", "    ")):
            line = ""
        if re.match(r"\s*([-*]|\d+\.)\s", line):  # an item begins a sentence
            line = "\n" + re.sub(r"^\s*([-*]|\d+\.)\s", "", line)
        kept.append(line)
    return "\n".join(kept)


def sentences(text: str) -> list[str]:
    """The sentences of a Markdown text; code within them counts as one word."""
    found = []
    for paragraph in re.split(r"\n\s*\n", prose(text)):
        plain = re.sub(r"`[^`]*`", "Code", LINK.sub(r"\1", paragraph))
        found += re.split(r"(?<=[.!?])[\"')*_]*\s+(?=[\"'(*_]*[A-Z0-9])", plain)
    return [" ".join(sentence.split()) for sentence in found if sentence.strip()]


def anchors(text: str) -> set[str]:
    """The anchors of a Markdown file's headings."""
    titles = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    plain = [re.sub(r"[^\w\- ]", "", LINK.sub(r"\1", title).lower()) for title in titles]
    return {title.strip().replace(" ", "-") for title in plain}


def calls(text: str) -> list[tuple[str, str]]:
    """(command, the rest of its line) of every call of gptjax in a code block, by make too."""
    found = []
    for _, block in FENCE.findall(text):
        for line in block.replace("\\\n", " ").splitlines():
            line = line.split(" #")[0]
            found += re.findall(r"(?:^|/|\s)gptjax ([a-z][\w-]*)(.*)", line)
            found += re.findall(
                r"^make (pretrain|finetune|evaluate|generate|tokenizer)\b(.*)", line
            )
    return found


class Source:
    """The classes of a module of the package, and where its other names come from."""

    def __init__(self, module: str) -> None:
        self.tree = ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text("utf-8"))
        self.module = module
        self.classes = {x.name: x for x in self.tree.body if isinstance(x, ast.ClassDef)}
        self.origins = {
            alias.asname or alias.name: (node.module, alias.name)
            for node in self.tree.body
            if isinstance(node, ast.ImportFrom) and node.module
            for alias in node.names
        }
        self.unions = {
            target.id: node.value
            for node in self.tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }

    def beside(self) -> list["Source"]:
        """All modules of the same folder."""
        package = self.module.rpartition(".")[0]
        files = sorted((ROOT / package.replace(".", "/")).glob("*.py"))
        return [source(f"{package}.{file.stem}") for file in files]

    def options(self, annotation: ast.expr, prefix: str = "--") -> Iterator[str]:
        """The options of the classes that an annotation names, with aliases such as --data."""
        for node in ast.walk(annotation):
            if isinstance(node, ast.Constant) and str(node.value).startswith("--"):
                yield str(node.value)
            if not isinstance(node, ast.Name):
                continue
            if node.id in self.classes:
                yield from self._fields(self.classes[node.id], prefix)
                for other in self.beside():  # a family's config, where any family's is wanted
                    for cls in other.classes.values():
                        if node.id in map(ast.unparse, cls.bases):
                            yield from other._own_fields(cls, prefix)
            elif node.id in self.unions:
                yield from self.options(self.unions[node.id], prefix)
            elif node.id in self.origins:
                module, name = self.origins[node.id]
                if (ROOT / f"{module.replace('.', '/')}.py").exists():
                    yield from source(module).options(ast.Name(name), prefix)

    def _fields(self, cls: ast.ClassDef, prefix: str) -> Iterator[str]:
        for base in cls.bases:
            yield from self.options(base, prefix)
        yield from self._own_fields(cls, prefix)

    def _own_fields(self, cls: ast.ClassDef, prefix: str) -> Iterator[str]:
        for node in cls.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                name = prefix + node.target.id.replace("_", "-")
                yield name
                yield from self.options(node.annotation, f"{name}.")


@functools.cache
def source(module: str) -> Source:
    return Source(module)


@functools.cache
def options_of(command: str) -> set[str] | None:
    """The options of a command; None of one that has another program's."""
    names = [path.stem for path in PACKAGE.glob("commands/*.py")]
    (name,) = (name for name in names if name.rstrip("_") == command.replace("-", "_"))
    module = source(f"gptjax.commands.{name}")
    (run,) = (x for x in module.tree.body if isinstance(x, ast.FunctionDef) and x.name == "run")
    annotation = run.args.args[0].annotation
    assert annotation is not None
    if ast.unparse(annotation) == "list[str]":
        return None
    return {"--help", *module.options(annotation)}


def files(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(ROOT)))


def test_sentences_are_short():
    long = [
        f"{path.name}: {len(sentence.split())} words: {sentence}"
        for path in OURS
        for sentence in sentences(path.read_text("utf-8"))
        if len(sentence.split()) > LONG_WORDS
    ]
    assert len(long) <= LONG_SENTENCES, "\n".join(long)


def test_the_counter_of_words_counts():
    text = "# Title\n\nOne two. `a b`. Three\nfour?\n- five\n- six\n\n| a | b |\n\n```\nx. y\n```\n"
    assert sentences(text) == ["One two.", "Code.", "Three four?", "five", "six"]


@files(ALL)
def test_links_lead_somewhere(path):
    for _, target in LINK.findall(FENCE.sub("", path.read_text("utf-8"))):
        if re.match(r"https?:", target):
            continue
        name, _, anchor = target.partition("#")
        there = (path.parent / name).resolve() if name else path
        assert there.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(there.read_text("utf-8")), f"{target}: no heading"


@files(OURS)
def test_files_that_are_named_exist(path):
    for name in NAMED.findall(path.read_text("utf-8")):
        found = [x for base in (ROOT, PACKAGE, ROOT / "experiments") for x in base.glob(name)]
        assert found, f"{name}: no such file"


@files(OURS)
def test_commands_and_options_exist(path):
    text = path.read_text("utf-8")
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    for target in re.findall(r"(?:^|`)make ([a-z][\w-]*)", text, re.MULTILINE):
        assert target in targets, f"make {target}: no such target"
    for command, words in calls(text):
        assert command in COMMANDS, f"gptjax {command}: no such command"
        known = options_of(command)
        for option in re.findall(r"(?:^|[\s\"])(--[a-z][\w.-]*)", words):
            plain = re.sub(r"^--([\w.-]*\.)?no-", r"--\1", option)
            assert known is None or plain in known, f"gptjax {command} {option}: no such option"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_the_docs_name_every_command(command):
    assert f"`{command}`" in (ROOT / "docs/command-line.md").read_text("utf-8")


def test_options_are_found():
    found = options_of("finetune")
    assert found >= {"--task", "--task.max-train", "--init", "--train.steps", "--model.width"}
    assert "--task.no-such" not in found


def test_words_of_our_own_stand_in_the_glossary():
    entries = ENTRY.findall((ROOT / "docs/glossary.md").read_text("utf-8"))
    assert {word.strip() for word in WORDS.split(",")} <= set(entries)
    assert entries == sorted(entries, key=str.lower)
