"""`gptjax pretrain`: train a language model on text."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gptjax import config as configs
from gptjax.data.text.corpus import (
    Corpus,
    CorpusConfig,
    prepare,
    prepare_tokenizer,
    unigram_perplexity,
)
from gptjax.data.text.windows import Windows
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.data.tokenizers.tokenizer import Tokenizer, VocabularyConfig
from gptjax.errors import UserError
from gptjax.evaluation.perplexity import Perplexity, perplexity
from gptjax.evaluation.sampling import continuations
from gptjax.models.config import ModelConfig
from gptjax.models.objective import lm
from gptjax.runs import folder as run_folder
from gptjax.runs import open as runs
from gptjax.runs import train as job
from gptjax.training import parallel
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from gptjax.training.evaluation import Evaluator
from gptjax.training.loop import FitResult, TrainConfig, fit, total_steps
from gptjax.training.optimizer import OptimizerConfig, make_optimizer, resolve_update
from gptjax.training.parallel import DistributedConfig
from gptjax.training.tracking import Tracker, TrackingConfig

SAMPLE_TOKENS = 120
SAMPLE_TOP_K = 40

# Nobody means the model of the paper on a text of 5 MB when they type no option.
BEGIN = """pretrain: no option says what to train. To begin:
  gptjax pretrain --config tiny                   a small model, on text that is on every machine
  gptjax pretrain --config small --data FOLDER    on your own .txt files
  gptjax pretrain --help                          every option"""


@dataclass(frozen=True)
class Selection:
    """The options that choose what the others are defaults of."""

    config: str | None = configs.invocation(None)
    """A preset (tiny, small, small-lstm, gpt1, gpt1-1gpu, gpt1-lstm, gpt2) or a TOML file with any
    of the options below."""
    out: str | None = configs.invocation(None)
    """Run folder; None is runs/pretrain/NAME, with the preset or the stem of the file as NAME."""
    resume: str = configs.invocation("never")
    """For a folder that is not empty: auto continues from its newest good checkpoint, a number
    from the checkpoint of that step, never refuses."""
    overwrite: bool = configs.invocation(False)
    """Remove the files of an earlier run in the folder first."""
    init: str | None = None
    """A run folder, openai:FOLDER or hf:ID_OR_FOLDER (what others published) to take model,
    parameters and tokenizer from, with a fresh optimiser."""
    heads: int | None = None
    """Attention heads of --init openai:FOLDER, whose files do not tell; None: heads of 64."""
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class PretrainConfig(Selection):
    """Pre-train a language model on text (section 3.1 of the GPT-1 paper).

    The options of a TOML file (--config) are overridden by those given here.
    """

    model: ModelConfig = field(default_factory=ModelConfig)
    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    distributed: DistributedConfig = field(
        default_factory=DistributedConfig, metadata={"toml": False}
    )


@dataclass(frozen=True)
class PretrainResult:
    """What a run came to.

    Attributes:
        out: the run folder.
        steps: updates done.
        checkpoint: the checkpoint that ``valid`` describes (`best/N`).
        valid: perplexity and the like of the validation text.
        unigram_perplexity: that of token frequencies alone, for scale.
    """

    out: Path
    steps: int
    checkpoint: str
    valid: Perplexity
    unigram_perplexity: float


def defaults(given: Selection) -> PretrainConfig:
    """What the command line overrides: the config file, over the model of --init.

    Without a config file, a run that is resumed keeps its own. Of steps and epochs, the one
    that is typed replaces the one in the file.
    """
    base = PretrainConfig()
    if given.init is not None:
        base = dataclasses.replace(base, model=runs.load_config(given.init, given.heads))
    file = given.config
    if file is None and given.out is not None and given.resume != "never":
        own = run_folder.RunFolder(Path(given.out)).config
        if own.exists():
            base = configs.read_resolved(PretrainConfig, own)
    if file is not None:
        base = configs.read(PretrainConfig, configs.config_file(file), base)
    typed = given.train
    if (typed.steps is None) != (typed.epochs is None):
        base = dataclasses.replace(
            base, train=dataclasses.replace(base.train, steps=None, epochs=None)
        )
    return base


def run(config: PretrainConfig) -> PretrainResult:
    """Prepare the text, train, evaluate, and print where everything lies and a sample.

    Raises:
        UserError: one line says what to do.
        NoCheckpointError, NonFiniteError, Interrupted: see `gptjax.training.loop.fit`.
    """
    if config == PretrainConfig():
        raise UserError(BEGIN)
    parallel.initialize(config.distributed)
    with parallel.end_together():
        return _run(config)


def _run(config: PretrainConfig) -> PretrainResult:
    devices = job.greet()
    # What can be refused at once is refused before the text is read.
    parallel.check_batch_size(config.train.batch_size, config.train.accumulate, "train.batch_size")
    total_steps(config.train, 1)
    name = Path(config.config).stem if config.config else "default"
    out = config.out if config.out is not None else f"runs/pretrain/{name}"
    folder, resume = run_folder.open_folder(out, resume=config.resume, overwrite=config.overwrite)
    source = None
    if config.init is not None and resume == "never":
        source = runs.load(
            config.init, num_heads=config.model.num_heads, mode=config.vocabulary.mode
        )
        job.check_same_shape(config.model, source.model, config.init)
        if config.init.startswith(runs.OPENAI):
            model = source.model
            job.say(f"{model.num_heads} heads of {model.head_width} (the files do not tell)")
        if config.overwrite and folder.path.resolve() == source.folder.path.resolve():
            raise UserError(f"--out {out}: is the run of --init too; choose another --out")
    if parallel.is_main():
        folder.path.mkdir(parents=True, exist_ok=True)

    tokenizer = _tokenizer(config, folder, resume, source)
    train, valid = prepare(config.corpus, tokenizer)
    batches = Windows(
        train,
        context_length=config.model.context_length,
        batch_size=config.train.batch_size,
        seed=config.train.seed,
        short_documents=config.corpus.short_documents,
    )
    job.say(f"training text: {train}")
    job.say(f"  {batches.report()}")
    job.say(f"validation text: {valid}")

    fingerprints = {
        "model": job.shape_fingerprint(config.model),
        "tokenizer": tokenizer.fingerprint,
        "corpus": train.fingerprint,
        "data order": job.fingerprint(
            {"seed": config.train.seed, "short_documents": config.corpus.short_documents}
        ),
    }
    steps = total_steps(config.train, len(batches))
    optimizer = make_optimizer(resolve_update(config.optimizer, config.model.fidelity), steps)
    job.prepare_folder(folder, config, fingerprints, resume=resume, overwrite=config.overwrite)

    objective = lm(config.model)
    # Perplexity is over the tokens, whatever the loss runs over.
    measured = lm(dataclasses.replace(config.model, fidelity="paper"))
    evaluator = Evaluator(measured, _whole(valid, config))

    def evaluate(params: Any) -> Mapping[str, float]:
        means = evaluator(params)
        return {**means, "perplexity": perplexity(means["loss"], valid).perplexity}

    job.say(
        f"model: {job.num_parameters(objective):,} parameters; {steps:,} updates of "
        f"{config.train.batch_size} windows"
    )
    checkpoints = Checkpoints(folder.checkpoints, config.checkpoint, fingerprints)
    with job.recorded(folder), Tracker(folder.path, config.tracking) as tracker:
        result = fit(
            objective,
            batches,
            config.train,
            optimizer,
            params=source.params if source is not None else None,
            evaluate=evaluate,
            checkpoints=checkpoints,
            tracker=tracker,
            resume=resume,
            on_start=lambda: job.describe(
                folder,
                config,
                tokenizer,
                fingerprints=fingerprints,
                devices=devices,
                data={"train": _facts(train), "valid": _facts(valid)},
            ),
        )
    return _conclude(config, folder, result, (train, valid))


def _tokenizer(
    config: PretrainConfig, folder: run_folder.RunFolder, resume: str, source: runs.Run | None
) -> Tokenizer:
    """The run's own tokenizer when it is resumed, that of --init, or as the settings say."""
    named = config.vocabulary.tokenizer
    if resume != "never" and folder.tokenizer.exists():
        # The run has its own copy of what its config names; another one is for comparing.
        if named is None or named == _recorded(folder).vocabulary.tokenizer:
            return load_tokenizer(folder.tokenizer, expected_size=config.model.vocabulary_size)
    elif named is None and source is not None:
        return source.tokenizer
    if named is None:
        job.say(f"training a tokenizer of {config.model.vocabulary_size:,} tokens on the corpus")
    tokenizer, report = prepare_tokenizer(
        config.vocabulary, config.model.vocabulary_size, config.corpus
    )
    if report is not None:
        job.say(str(report))
    if source is not None and tokenizer.fingerprint != source.tokenizer.fingerprint:
        raise UserError(
            f"--init {config.init} was trained with another tokenizer: its fingerprint is "
            f"{source.tokenizer.fingerprint}, that of {config.vocabulary.tokenizer} "
            f"{tokenizer.fingerprint}; leave --tokenizer out"
        )
    return tokenizer


def _recorded(folder: run_folder.RunFolder) -> PretrainConfig:
    """The config that the run was started with."""
    return configs.read_resolved(PretrainConfig, folder.config)


def _whole(valid: Corpus, config: PretrainConfig) -> Windows:
    """The validation text in order, every token predicted once, a micro-batch at a time."""
    return Windows(
        valid,
        context_length=config.model.context_length,
        batch_size=config.train.batch_size // config.train.accumulate,
        shuffle=False,
        drop_last=False,
    )


def _facts(corpus: Corpus) -> dict[str, Any]:
    return {
        "source": corpus.name,
        "fingerprint": corpus.fingerprint,
        "documents": corpus.num_documents,
        "tokens": corpus.num_tokens,
        "words": corpus.words,
        "bytes": corpus.bytes,
        "dropped": dict(corpus.dropped),
    }


def _conclude(
    config: PretrainConfig,
    folder: run_folder.RunFolder,
    result: FitResult,
    corpora: tuple[Corpus, Corpus],
) -> PretrainResult:
    """results.json, samples.txt, and the last lines that people see."""
    train, valid = corpora
    best = f"best/{result.history.best_step}"
    # Going back to an earlier step may have lost the best one; the last is always there.
    kept = not parallel.is_main() or (folder.checkpoints / best).exists()
    metrics = result.history.best_metrics if kept else result.history.metrics
    outcome = PretrainResult(
        out=folder.path,
        steps=result.step,
        checkpoint=best if kept else f"last/{result.step}",
        valid=perplexity(metrics["loss"], valid),
        unigram_perplexity=unigram_perplexity(train, valid),
    )
    if parallel.is_main():
        _write_results(config, folder, outcome, metrics, valid)
        folder.update_meta(status="finished")
        _show(config, folder, outcome, runs.load(folder.path, "best" if kept else "last"))
    # The others wait, or they would leave before process 0 has shown its sample.
    parallel.barrier("concluded")
    return outcome


def _write_results(
    config: PretrainConfig,
    folder: run_folder.RunFolder,
    outcome: PretrainResult,
    metrics: Mapping[str, float],
    valid: Corpus,
) -> None:
    run_folder.write_json(
        folder.results,
        {
            "task": "language-modelling",
            "split": "valid",
            "examples": valid.num_tokens,
            "metrics": {
                **metrics,
                **dataclasses.asdict(outcome.valid),
                "unigram_perplexity": outcome.unigram_perplexity,
            },
            "data": {
                "source": valid.name,
                "fingerprint": valid.fingerprint,
                "dropped": dict(valid.dropped),
            },
            "checkpoint": outcome.checkpoint,
            "steps": outcome.steps,
            "seed": config.train.seed,
        },
    )


def _show(
    config: PretrainConfig, folder: run_folder.RunFolder, outcome: PretrainResult, loaded: runs.Run
) -> None:
    (sample,) = continuations(
        loaded,
        [""],
        max_tokens=SAMPLE_TOKENS,
        temperature=1.0,
        top_k=SAMPLE_TOP_K,
        top_p=1.0,
        num_samples=1,
        seed=config.train.seed,
    )[0]
    folder.samples.write_text(sample + "\n", encoding="utf-8")
    measured = outcome.valid
    job.say(
        f"validation perplexity after {loaded.step:,} updates: {measured.perplexity:.2f} per token "
        f"(token frequencies alone: {outcome.unigram_perplexity:.2f}), "
        f"{measured.word_perplexity:.1f} per word, {measured.bits_per_byte:.3f} bits per byte"
    )
    job.say("a sample of its writing:\n")
    print(sample, flush=True)
    job.say(f"\nrun folder: {folder.path}")
    job.say(f'  write more:  gptjax generate --run {folder.path} --prompt "The "')
    job.say(f"  perplexity:  gptjax evaluate --run {folder.path} --data FILE")
