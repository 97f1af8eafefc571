"""What lies in the folders that a report is made of, told by their content.

A folder is a pre-trained run, a fine-tuned run or several seeds of one, what `gptjax evaluate` or
`gptjax zeroshot` wrote, figures and tables of an experiment, or a folder of such folders. What was
measured for an experiment, and lies below its figures, is in these and not reported once more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from gptjax.errors import UserError
from gptjax.report import figures
from gptjax.report.entries import Sources
from gptjax.report.order import natural
from gptjax.report.readers import add_results, add_tuned, incomplete, read_drawn, read_pretrained
from gptjax.report.report import build
from gptjax.runs.folder import RunFolder
from gptjax.runs.own_config import read_table

WITHOUT_CONFIG = "is of a run, but has no config.toml"
INNER = ("checkpoints", "tokenizer", "tensorboard")  # parts of a run


def find(runs: Sequence[str]) -> Sources:
    """Read everything in the folders ``runs``, as the user names them, and below them.

    Raises:
        UserError: no such folder, nothing to report in it, or a damaged file.
    """
    sources = Sources()
    seen: set[Path] = set()
    for given in runs:
        base = Path(given)
        if not base.is_dir():
            raise UserError(f"{given}: no such folder; name run folders, or a folder of them")
        before = len(sources.origins), len(sources.left_out)
        again = any(path.is_relative_to(base.resolve()) for path in seen)
        experiments: list[Path] = []
        for folder in _walk(base, seen):
            inside = any(folder.is_relative_to(experiment) for experiment in experiments)
            _read(folder, _shown(given, base, folder), sources, inside=inside)
            if (folder / figures.FILE).exists():
                experiments.append(folder)
        if len(sources.origins) == before[0] and not again:
            left_out = sources.left_out[before[1] :]
            why = f": {left_out[0]}" if left_out else " (no run, results.json or figures.json)"
            raise UserError(f"{given}: nothing to report in it{why}")
    # Runs that have entries of their own, as those of a sweep, are not listed with its figures.
    own = {one.path for run in (*sources.pretrained, *sources.tuned) for one in run.origin.made}
    for number, drawn in enumerate(sources.drawn):
        made = tuple(one for one in drawn.origin.made if one.path not in own)
        sources.drawn[number] = replace(drawn, origin=replace(drawn.origin, made=made))
    paths = [origin.path for origin in sources.origins]
    if twice := sorted({path for path in paths if paths.count(path) > 1}):
        raise UserError(f"two folders would both be called {twice[0]}; name them relative to here")
    return sources


def _walk(folder: Path, seen: set[Path]) -> Iterator[Path]:
    """The folder and those below it, in order, each once; not the inside of runs."""
    if folder.resolve() in seen:
        return
    seen.add(folder.resolve())
    yield folder
    if RunFolder(folder).config.exists() or RunFolder(folder).seeds():
        return
    for inner in sorted(folder.iterdir(), key=lambda inner: natural(inner.name)):
        if inner.is_dir() and not inner.name.startswith(".") and inner.name not in INNER:
            yield from _walk(inner, seen)


def _shown(given: str, base: Path, folder: Path) -> str:
    """How the report calls a folder: as the user did, but never by an absolute path."""
    if base.is_absolute():
        here = Path.cwd()
        base = base.relative_to(here) if base.is_relative_to(here) else Path("…", base.name)
    return (base / folder.relative_to(given)).as_posix()


def _read(folder: Path, shown: str, sources: Sources, *, inside: bool) -> None:
    """Add what a folder itself holds; ``inside`` of an experiment no measurement."""
    run, own = RunFolder(folder), Sources()
    try:
        if (folder / figures.FILE).exists():
            own.drawn.append(read_drawn(folder, shown))
        if seeds := [seed.path for seed in run.seeds()]:
            add_tuned(shown, {path: f"{shown}/{path.name}" for path in seeds}, own)
            for lost in sorted(folder.glob("seed-*/meta.json")):
                if lost.parent not in seeds:
                    own.left_out.append(f"{shown}/{lost.parent.name}: {WITHOUT_CONFIG}")
        elif run.config.exists():
            if "task" in read_table(folder):
                add_tuned(shown, {folder: shown}, own)
            elif reason := incomplete(folder):
                own.left_out.append(f"{shown}: {reason}")
            else:
                own.pretrained.append(read_pretrained(folder, shown))
        elif run.meta.exists():
            own.left_out.append(f"{shown}: {WITHOUT_CONFIG}")
        elif run.results.exists() and not inside:
            add_results(folder, shown, own)
        build(own)  # numbers that do not go together show here, where their folder is known
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{folder}: its files are damaged, or of another version of gptjax ({what})"
        ) from None
    for name, found in vars(own).items():
        getattr(sources, name).extend(found)
