"""Imports go down only, from floor to floor, and never in a circle."""

import ast
from collections.abc import Mapping
from pathlib import Path

import gptjax

PACKAGE = Path(gptjax.__file__).parent

# Lower may not import higher. Wings of one floor do not know each other.
FLOORS = [
    {"allocator", "batch", "colours", "config", "errors", "files", "finite"}
    | {"help", "options", "screen", "spelling", "variant"},
    {"models", "data", "training"},
    {"interchange"},
    {"runs"},
    {"evaluation"},
    {"report", "play", "serving"},
    {"sweeps"},
    {"commands"},
    {"cli", "calls"},
    {"__main__", "__init__"},  # what users see: the command and the package's names
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# Inside data: a folder knows those before it.
DATA = ["tokenizers", "tables", "text", "knowledge", "tasks"]
# A command knows no other command, but for these: fine-tuning's options, its end, its learning
# curves and the states that it keeps have rooms of their own, and a sweep hands the configs and
# checks of the commands that it runs to `gptjax.sweeps`.
COMMANDS = {
    ("commands.finetune", "commands.finetune_config"),
    ("commands.finetune", "commands.finetune_results"),
    ("commands.finetune", "commands.finetune_sizes"),
    ("commands.finetune", "commands.finetune_states"),
    ("commands.finetune_results", "commands.finetune_config"),
    ("commands.finetune_sizes", "commands.finetune_config"),
    ("commands.finetune_states", "commands.finetune_config"),
    ("commands.probe", "commands.probe_config"),
    ("commands.sweep", "commands.finetune_config"),
    ("commands.sweep", "commands.pretrain"),
}

Graph = Mapping[str, set[str]]


def name_of(path: Path) -> str:
    """The module of a file, without the package's name."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports(path: Path, known: set[str]) -> set[str]:
    """The modules of gptjax that a file imports, at the top or in a function."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name.split(".")[0] != "gptjax":
                continue
            inner = name.removeprefix("gptjax").lstrip(".")
            while inner and inner not in known:
                inner = inner.rpartition(".")[0]
            if name not in ("gptjax", "gptjax.__version__"):  # everybody may know the version
                found.add(inner or "__init__")
    return found


def graph() -> dict[str, set[str]]:
    """Every module and those that it imports."""
    files = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}
    return {name: imports(path, set(files)) - {name} for name, path in files.items()}


def is_allowed(source: str, target: str) -> bool:
    """Whether one module may import another."""
    here, there = source.split("."), target.split(".")
    if here[0] != there[0]:
        return FLOOR[there[0]] < FLOOR[here[0]] or FLOOR[there[0]] == FLOOR[here[0]] == 0
    if here[0] == "commands":
        # What all of them say at their end is no command.
        return target == "commands.advice" or (source, target) in COMMANDS
    if here[0] == "data" and len(here) > 1 and len(there) > 1 and here[1] != there[1]:
        return DATA.index(there[1]) < DATA.index(here[1])
    return True


def violations(modules: Graph) -> list[str]:
    """`module imports module` for each import that goes up or sideways."""
    return [
        f"{source} imports {target}"
        for source, targets in modules.items()
        for target in sorted(targets)
        if not is_allowed(source, target)
    ]


def circles(modules: Graph) -> list[str]:
    """The modules that reach themselves by their imports."""

    def reach(start: str) -> set[str]:
        seen: set[str] = set()
        waiting = [*modules[start]]
        while waiting:
            module = waiting.pop()
            if module not in seen:
                seen.add(module)
                waiting += modules.get(module, ())
        return seen

    return [module for module in modules if module in reach(module)]


def test_every_room_has_a_floor():
    assert {name.split(".")[0] for name in graph()} <= set(FLOOR)
    assert {path.name for path in (PACKAGE / "data").iterdir() if path.is_dir()} - {
        "__pycache__"
    } == set(DATA)
    assert [path.name for path in (PACKAGE / "data").glob("*.py")] == ["__init__.py"]


def test_imports_go_down_only():
    assert violations(graph()) == []


def test_no_circle():
    assert circles(graph()) == []


def test_the_checks_see_a_violation(tmp_path):
    assert violations({"data.text.corpus": {"models.transformer"}})
    assert violations({"data.text.corpus": {"data.tasks.table"}})
    assert violations({"training.loop": {"runs.open"}})
    assert violations({"sweeps.plan": {"commands.finetune"}})
    assert violations({"commands.generate": {"commands.pretrain"}})
    assert not violations({"data.text.corpus": {"data.tokenizers.tokenizer"}})
    assert circles({"runs.open": {"runs.folder"}, "runs.folder": {"runs.open"}})
    file = tmp_path / "hidden.py"
    file.write_text("def f():\n    from gptjax.runs import open\n")
    assert imports(file, {"runs", "runs.open"}) == {"runs.open"}


def test_the_data_wing_and_the_shared_rooms_know_no_jax():
    for path in [*(PACKAGE / "data").rglob("*.py"), PACKAGE / "batch.py", PACKAGE / "config.py"]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names.add(node.module or "")
            elif isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
        assert not {name for name in names if name.split(".")[0] in ("jax", "flax", "optax")}, path


def test_only_one_room_names_pmap_or_a_collective():
    words = ("pmap", "psum", "pmean", "shard_map", "axis_index", "all_gather", "axis_name")
    for path in PACKAGE.rglob("*.py"):
        if path == PACKAGE / "training" / "parallel.py":
            continue
        nodes = list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))
        names = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        names |= {node.id for node in nodes if isinstance(node, ast.Name)}
        names |= {node.arg for node in nodes if isinstance(node, ast.keyword) and node.arg}
        assert not names & set(words), f"{path} names {names & set(words)}"
