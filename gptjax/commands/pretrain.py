"""`gptjax pretrain`: train a language model on text."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from gptjax import config as configs
from gptjax.commands.advice import TEXT, again, suggest
from gptjax.data.tasks import texts
from gptjax.data.text import corpus, vocabulary
from gptjax.data.text.autoencoder import AutoencoderRows, check_end
from gptjax.data.text.batches import check_rows, is_streams, order, to_evaluate, to_train
from gptjax.data.text.corpus import Corpus, predicts_end
from gptjax.data.text.documents import Source, Sources
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.streams import WholeDocuments
from gptjax.data.text.unigram import unigram_perplexity
from gptjax.data.text.windows import Windows
from gptjax.data.tokenizers import byte_level
from gptjax.data.tokenizers.tokenizer import BYTES, WORDS, Tokenizer, VocabularyConfig
from gptjax.errors import UserError
from gptjax.evaluation.perplexity import Perplexity, after_updates, measured
from gptjax.evaluation.sampling import continuations
from gptjax.models.config import ModelConfig
from gptjax.models.flops import flops_per_token
from gptjax.models.objective import lm
from gptjax.runs import memory, spelled
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import open_tokenizer
from gptjax.runs.own_config import load_config
from gptjax.runs.results import Data, LanguageModelling, dropped, write_results
from gptjax.runs.settings import RunConfig, Selection, with_length
from gptjax.runs.start import check_not_source, check_words, load_source, with_words
from gptjax.runs.train import Problem, Trained, create, say, show, train_run
from gptjax.training import parallel
from gptjax.training.evaluation import Evaluator

ROWS = "encoding encoding_errors sheet"  # what fine-tuning needs, too, to read the same rows

# Nobody means the model of the paper on a text of 5 MB when they type no option.
BEGIN = """to begin:
  gptjax pretrain --config tiny                   a small model, on text that is on every machine
  gptjax pretrain --config small --data FOLDER    on your own .txt files
  gptjax pretrain --help                          every option"""


@dataclass(frozen=True)
class PretrainConfig(RunConfig):
    """Pre-train a language model on text (section 3.1 of the GPT-1 paper).

    The options of a TOML file (--config) are overridden by those given here.
    """

    corpus: CorpusConfig = field(default_factory=CorpusConfig)
    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)


@dataclass(frozen=True)
class PretrainSelection(Selection):
    """The options that choose what the others are defaults of."""

    vocabulary: VocabularyConfig = field(default_factory=VocabularyConfig)


def defaults(given: PretrainSelection) -> PretrainConfig:
    """What the command line overrides: the config file, over the model of --init.

    Without a config file, a run that is resumed keeps its own. Of steps and epochs, the one
    that is typed replaces the one in the file. Where bytes are typed, the vocabulary has the size
    of bytes: a file for another tokenizer has that of its own.
    """
    own = None if given.out is None else RunFolder(Path(given.out)).config
    if own is not None and (given.resume == "never" or not own.exists()):
        own = None
    if given.config is None and own is not None:
        base = configs.read_resolved(PretrainConfig, own)
    else:
        file = None if given.config is None else configs.config_file(given.config)
        base = _over_source(
            given,
            own,
            lambda base: base if file is None else configs.read(PretrainConfig, file, base),
        )
    model = base.model
    if given.vocabulary.tokenizer == BYTES != base.vocabulary.tokenizer:
        base = replace(base, model=_of_bytes(model))
    return with_length(base, given.train)


def from_table(table: Mapping[str, Any], where: str) -> PretrainConfig:
    """The config that --config gives for a file with this table; errors name ``where``."""
    return _over_source(
        Selection(),
        None,
        lambda base: configs.from_table(PretrainConfig, table, where=where, base=base),
    )


def _over_source(
    given: Selection, own: Path | None, layer: Callable[[PretrainConfig], PretrainConfig]
) -> PretrainConfig:
    """A layer over the model of the run of --init, which a resumed run has in its own config."""
    named = layer(PretrainConfig())
    init = given.init if given.init is not None else named.init
    if init is None:
        if named.vocabulary.tokenizer == BYTES:  # a size in the layer wins
            plain = PretrainConfig()
            return layer(replace(plain, model=_of_bytes(plain.model)))
        return named
    heads = given.heads if given.heads is not None else named.heads
    if own is None:
        model = load_config(init, heads)
    else:
        model = configs.read_resolved(PretrainConfig, own).model
    return layer(replace(PretrainConfig(), model=model))


def _of_bytes(model: ModelConfig) -> ModelConfig:
    """The same model with a vocabulary of bytes."""
    if model.vocabulary_size in byte_level.SIZES:
        return model
    return replace(model, vocabulary_size=byte_level.WITH_END)


def run(config: PretrainConfig) -> LanguageModelling:
    """Prepare the text, train, evaluate, and print where everything lies and a sample."""
    if config == PretrainConfig():
        say(BEGIN)
        raise UserError("pretrain: no option says what to train")
    out = config.out if config.out is not None else str(default_out(config))

    def prepare(
        config: PretrainConfig, folder: RunFolder, resume: str
    ) -> Problem[LanguageModelling]:
        texts.check(config.corpus)
        check_rows(config.corpus, config.model.bidirectional)
        lm(config.model, streams=is_streams(config.corpus))  # refuses a model without state
        memory.check_training(config.model, config.train, config.model.context_length)
        source = None
        if resume == "never" and config.init is not None:
            if config.overwrite:
                check_not_source(folder, (config.init,))
            named = config.vocabulary.tokenizer
            source = load_source(
                config.model, config.init, config.vocabulary.mode, any_vocabulary=named is not None
            )
            if named == WORDS:
                check_words(source, named)
        sources = texts.open_sources(config.corpus)
        for line in texts.report(sources):
            say(line)
        create(folder)
        tokenizer = _tokenizer(config, folder, resume, source, sources.train)
        if source is not None:
            source = with_words(source, tokenizer)
        if config.corpus.autoencodes:
            check_end(tokenizer)
        text = replace(config.corpus, predict_end=predicts_end(config.corpus, tokenizer))
        return _problem(replace(config, corpus=text), tokenizer, source, sources)

    return train_run(config, out, prepare)


def default_out(config: Selection) -> Path:
    """runs/pretrain/NAME."""
    return Path("runs/pretrain") / (Path(config.config).stem if config.config else "default")


def _problem(
    config: PretrainConfig, tokenizer: Tokenizer, source: runs.Run | None, sources: Sources
) -> Problem[LanguageModelling]:
    streams, both_ways = is_streams(config.corpus), config.model.bidirectional
    apart = tokenizer.end if config.corpus.predict_end else None
    learnt = spelled.spelling_out(lm(config.model, apart, streams=streams), config.model, tokenizer)
    train, valid = corpus.prepare(config.corpus, tokenizer, sources)
    context, size, seed = config.model.context_length, config.train.batch_size, config.train.seed
    batches = to_train(config.corpus, train, context_length=context, batch_size=size, seed=seed)
    say(f"training text: {train}")
    say(f"  {batches.report()}")
    if isinstance(batches, AutoencoderRows) and (notice := batches.notice()) is not None:
        say(f"notice: {notice}")
    say(f"validation text: {valid}")
    if sources.validation is None:
        say(f"  {corpus.held_back(train, valid, config.corpus)}")
    texts_by_name = {"training text": train, "validation text": valid}
    if (line := vocabulary.not_kept(tokenizer, texts_by_name)) is not None:
        say(line)
    # The validation text in order, every token predicted once, a micro-batch at a time. Perplexity
    # is over the tokens of the text, whatever the loss runs over.
    size //= config.train.accumulate
    whole = to_evaluate(config.corpus, valid, context_length=context, batch_size=size)
    if isinstance(whole, AutoencoderRows) or (isinstance(whole, WholeDocuments) and whole.is_cut):
        say(f"  {whole.report()}")
    evaluator = Evaluator(lm(config.model.for_perplexity(), apart, streams=streams), whole)

    def evaluate(params: Any) -> Mapping[str, float]:
        means = evaluator(params)
        found = measured(means, whole)
        return {**means, found.NAME: found.metrics()[found.NAME]}

    return Problem(
        called="pretrain",
        tokenizer=tokenizer,
        objective=learnt,
        batches=batches,
        unit="rows" if config.corpus.autoencodes else "windows",
        evaluate=evaluate,
        conclude=lambda trained: _conclude(config, trained, train, whole),
        content={"corpus": train.fingerprint},
        earlier={"corpus": (train.earlier,)},
        order=order(config.corpus),
        facts={"train": _facts(train, batches), "valid": _facts(valid, whole)},
        write=None if both_ways else partial(_write, config.model, tokenizer, seed),
        flops_per_token=None if config.train.unfreeze else flops_per_token(config.model),
        config=config,
        params=None if source is None else lambda: source.params,
        source=None if source is None else source.params,
    )


def _write(
    model: ModelConfig, tokenizer: Tokenizer, seed: int, params: Any, count: int
) -> list[str]:
    """Texts of a model in training, given its replicated parameters."""
    run = runs.Run(RunFolder(Path()), model, tokenizer, parallel.fetch(params), 0, "")
    (texts,) = continuations(
        run, [""], max_tokens=60, temperature=1.0, top_k=40, top_p=1.0, num_samples=count, seed=seed
    )
    return texts


def _tokenizer(
    config: PretrainConfig,
    folder: RunFolder,
    resume: str,
    source: runs.Run | None,
    documents: Source,
) -> Tokenizer:
    """The run's own tokenizer when it is resumed, that of --init, or as the settings say."""
    named = config.vocabulary.tokenizer
    if resume != "never" and folder.tokenizer.exists():
        recorded = configs.read_resolved(PretrainConfig, folder.config)
        # The run has its own copy of what its config names; another one is for comparing.
        if named is None or named == recorded.vocabulary.tokenizer:
            return open_tokenizer(folder, expected_size=config.model.vocabulary_size)
    elif named is None and source is not None:
        return source.tokenizer
    if vocabulary.is_trained(config.vocabulary):
        kind = "tokenizer" if named is None else f"vocabulary ({named})"
        say(f"training a {kind} of {config.model.vocabulary_size:,} tokens on the corpus")
    tokenizer, report = vocabulary.prepare_tokenizer(
        config.vocabulary, config.model.vocabulary_size, config.corpus, documents
    )
    if report is not None:
        say(str(report))
    return tokenizer


def _facts(corpus: Corpus, rows: object) -> dict[str, Any]:
    # Of an autoencoder, the tokens and ends that are predicted in an epoch of all rows.
    predicted = {"predicted": rows.num_targets} if isinstance(rows, AutoencoderRows) else {}
    return {
        **predicted,
        "source": corpus.name,
        "fingerprint": corpus.fingerprint,
        "files": dict(corpus.files),
        "documents": corpus.num_documents,
        "tokens": corpus.num_tokens,
        "words": corpus.words,
        "bytes": corpus.bytes,
        "dropped": dict(corpus.dropped),
    }


def _conclude(
    config: PretrainConfig,
    trained: Trained,
    train: Corpus,
    rows: Windows | WholeDocuments | AutoencoderRows,
) -> LanguageModelling:
    """results.json, samples.txt, and the last lines that people see."""
    folder, seed, valid = trained.folder, config.train.seed, rows.corpus
    found, unigram = measured(trained.metrics, rows), {}
    if isinstance(found, Perplexity):
        unigram = {"unigram_perplexity": unigram_perplexity(train, valid)}
    results = LanguageModelling(
        split="valid",
        examples=found.tokens,
        metrics={**trained.metrics, **found.metrics(), **unigram},
        data=Data(source=valid.name, fingerprint=valid.fingerprint, dropped=dropped(valid.dropped)),
        checkpoint=trained.checkpoint,
        steps=trained.steps,
        seed=seed,
    )
    if not parallel.is_main():
        return results
    loaded = runs.load(folder.path, trained.checkpoint)
    say(after_updates(found, loaded.step, **unigram))
    if config.model.bidirectional:  # which writes nothing
        write_results(folder.results, results)
        say(f"run folder: {folder.path}")
    else:
        sample = _sample(loaded, seed)
        # After they are shown, so that a full disk hides nothing.
        write_results(folder.results, results)
        folder.samples.write_text(sample + "\n", encoding="utf-8")
        say(f"\nrun folder: {folder.path}")
        suggest("write more", "generate", "--run", folder.path, "--prompt", "The ")
    _suggest_next(config.corpus, valid, folder.path)
    return results


def _sample(loaded: runs.Run, seed: int) -> str:
    """A text that the model writes, shown."""
    ((sample,),) = continuations(
        loaded, [""], max_tokens=120, temperature=1.0, top_k=40, top_p=1.0, num_samples=1, seed=seed
    )
    say("a sample of its writing:\n")
    show(sample)
    return sample


def _suggest_next(text: CorpusConfig, valid: Corpus, run: Path) -> None:
    """The commands for the perplexity of the validation text, and for fine-tuning on a task."""
    data = text.validation or text.data
    words = [data, *again(text, TEXT)]
    if texts.is_task(data):
        held = text.validation is None and valid.name == data  # a part of its training rows
        words += ["--split", "train" if held else "valid"]
    suggest("perplexity", "evaluate", "--run", run, "--data", *words)
    if texts.is_task(text.data):
        name, rows = texts.named(text.data)
        rows = (*(("--data", *rows) if rows else ()), *again(text, ROWS))
        suggest("fine-tune", "finetune", "--init", run, "--task", name, *rows)
