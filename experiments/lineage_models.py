"""The pre-trained models of `lineage.py`: each by one rule, on the same novels, of about one size.

A model is trained with two learning rates on every tenth novel, and with the one of the lower
validation perplexity once on all of them, with one seed. CPU seconds are those of the process of
the whole run: start, compilation, evaluations and checkpoints are in them.
"""

import json
import resource
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from arms import RATES, check_finished
from corpora import write_snippets

from gptjax.commands.sweep import run_sweep
from gptjax.data.text.sources import open_source
from gptjax.errors import UserError
from gptjax.models import backbone
from gptjax.models.flops import flops_per_token
from gptjax.runs.own_config import load_config, read_table
from gptjax.runs.results import LanguageModelling, read_as
from gptjax.runs.sweep_results import SweepPoint
from gptjax.sweeps.plan import Sweep

MODELS_FILE = Path(__file__).with_name("lineage-models.toml")
# In the file of models; all else there are settings of pre-training.
PASSAGES, TOKENIZER = "passages", "tokenizer_of"
PART = 10
"""Learning rates are tried on every so many-th novel."""


@dataclass(frozen=True)
class Trained:
    """A model of the lineage.

    Attributes:
        run: its folder.
        rate: the learning rate that was chosen.
        perplexity: on its validation text, of its own tokens.
        bits_per_byte: of the same text, which compares all tokenizers; None of an autoencoder.
        weights: the parameters of its layers, without those of embeddings and output.
        petaflops: of its training, by `gptjax.models.flops.flops_per_token`.
        cpu: seconds.
    """

    run: Path
    rate: float
    perplexity: float
    bits_per_byte: float | None
    weights: int
    petaflops: float
    cpu: float


def read_models(path: Path) -> dict[str, dict[str, Any]]:
    """The settings of each model, by its name."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise UserError(f"{path}: cannot be read as TOML: {error}") from None


def train_models(
    specs: Mapping[str, Mapping[str, Any]], books: Path, out: Path, jobs: int
) -> dict[str, Trained]:
    """Each model, trained where it is missing or goes on.

    Args:
        specs: of `read_models`; one whose tokenizer is that of another comes after it.
        books: the folder with train/*.txt and valid/*.txt.
        out: where the runs go.
        jobs: at a time.
    """
    part = _part(books / "train", out / "text" / "part")
    found: dict[str, Trained] = {}
    for name, spec in specs.items():
        own = {key: value for key, value in spec.items() if key not in (RATES, PASSAGES, TOKENIZER)}
        own |= {"corpus.validation": str(books / "valid"), "tracking.tensorboard": False}
        if TOKENIZER in spec:
            own["vocabulary.tokenizer"] = str(found[spec[TOKENIZER]].run / "tokenizer")
        if PASSAGES in spec:
            own["corpus.validation"] = _passages(books / "valid", out, spec[PASSAGES])

        def run(
            where: str, text: Path, rates: tuple[float, ...], name: str = name, own: Any = own
        ) -> list[SweepPoint]:
            words = specs[name].get(PASSAGES)
            data = str(text) if words is None else _passages(text, out, words)
            folder = out / where / name
            variants = {f"{rate:g}": {"optimizer.learning_rate": rate} for rate in rates}
            sweep = Sweep(
                "pretrain",
                folder,
                {**own, "corpus.data": data},
                variants=variants,
                source=str(folder),
            )
            points = list(run_sweep(sweep, jobs))
            check_finished(folder, points)
            return points

        tried = run("part", part, tuple(spec[RATES]))
        rate = float(min(tried, key=lambda point: point.mean or float("inf")).variant)
        before = _cpu()
        (point,) = run("models", books / "train", (rate,))
        folder = out / "models" / name / point.folder
        found[name] = _measured(folder, rate, _cpu() - before)
    return found


def _cpu() -> float:
    """CPU seconds of all processes that this one has started, and that have ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def _measured(run: Path, rate: float, cpu: float) -> Trained:
    """What a run came to; CPU seconds of several calls are added up beside it."""
    kept = run / "cpu-seconds.json"
    if kept.exists():
        cpu += json.loads(kept.read_text())
    kept.write_text(json.dumps(round(cpu, 1)))
    results, model = read_as(LanguageModelling, run / "results.json"), load_config(str(run))
    params = jax.eval_shape(lambda: backbone.init_backbone(model, jax.random.key(0)))
    rows: int = read_table(str(run))["train"]["batch_size"]
    tokens = results.steps * rows * model.context_length
    name = next(
        one for one in ("perplexity", "reconstruction_perplexity") if one in results.metrics
    )
    return Trained(
        run=run,
        rate=rate,
        perplexity=results.metrics[name],
        bits_per_byte=results.metrics.get("bits_per_byte"),
        weights=weights_of(params),
        petaflops=flops_per_token(model) * tokens / 1e15,
        cpu=cpu,
    )


def weights_of(params: Any) -> int:
    """How many parameters the layers have."""
    pairs = zip(backbone.names_of(params), jax.tree.leaves(params), strict=True)
    found: int = sum(leaf.size for name, leaf in pairs if name.startswith("blocks_"))
    return found


def _part(books: Path, folder: Path) -> Path:
    """A folder of links to every tenth novel."""
    folder.mkdir(parents=True, exist_ok=True)
    for book in sorted(books.glob("*.txt"))[::PART]:
        link = folder / book.name
        if not link.exists():
            link.symlink_to(book.resolve())
    return folder


def _passages(books: Path, out: Path, words: int) -> str:
    """A .jsonl with the novels in passages of so many words: what an autoencoder reads twice."""
    file = out / "text" / f"{books.parent.name}-{books.name}-passages-{words}.jsonl"
    write_snippets(open_source(str(books)), file, seed=0, words=words)
    return str(file)
