"""`gptjax knowledge`: what WordNet says of the words of a task."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gptjax.data.knowledge.lemmas import find_lemmas
from gptjax.data.knowledge.relations import NAMES, find_pairs
from gptjax.data.knowledge.table import Knowledge, read_lemmas, write_knowledge
from gptjax.data.knowledge.wordnet import INSTALL, read_wordnet
from gptjax.data.tables.options import TableOptions
from gptjax.data.tasks.load import SAMPLE_WARNING, TaskData, load_task_data
from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task import Task, with_columns
from gptjax.data.tokenizers.alignment import split_words
from gptjax.errors import UserError, check_counts
from gptjax.runs.train import say


@dataclass(frozen=True)
class KnowledgeConfig(TableOptions):
    """Write the relations that WordNet knows between the words of a task."""

    wordnet: str = ""
    """Folder with WordNet's database: data.noun, data.verb, data.adj, data.adv, and noun.exc and so
    on. Debian's package wordnet-base has them in /usr/share/wordnet."""
    task: str = ""
    """Task whose words are looked up, such as snli, or a TOML file of one's own."""
    data: tuple[str, ...] = ()
    """A folder with the published files, a file, train=FILE valid=FILE test=FILE, hub,
    hub:ID_OR_FOLDER, or sample. Absent: the hub, or the offline sample if it cannot be reached."""
    also: tuple[str, ...] = ()
    """Further tasks whose words go in, TASK=DATA, such as breaking_nli=FOLDER."""
    out: str | None = None
    """Folder for pairs.tsv.gz and lemmas.tsv.gz. None: runs/knowledge/TASK."""
    lemmas: str | None = None
    """Table of base forms (WORD, tab, FORM FORM; .tsv or .tsv.gz), such as CoreNLP's lemmas. Words
    that it lacks, and all words without it, are put into base forms by WordNet's rules."""
    min_count: int = 1
    """Leave out words that the task has less often."""
    overwrite: bool = False
    """Replace the tables if they exist."""

    def __post_init__(self) -> None:
        check_counts(self, "", "min_count")


def run(config: KnowledgeConfig) -> Knowledge:
    """Look up the words, write both tables, and print how many relations there are."""
    if not config.wordnet:
        raise UserError(f"--wordnet is missing: name the folder of WordNet's database; {INSTALL}")
    if not config.task:
        raise UserError("--task is missing: name a task (such as snli) or a TOML file")
    out = Path(config.out or Path("runs/knowledge") / Path(config.task).stem).expanduser()
    if out.exists() and not (out.is_dir() and (config.overwrite or not any(out.iterdir()))):
        raise UserError(f"--out {out} exists; name another folder, or add --overwrite")
    given = {} if config.lemmas is None else read_lemmas(Path(config.lemmas))
    counted = Counter(word for text in _texts(config) for word in split_words(text))
    words = sorted(word for word, count in counted.items() if count >= config.min_count)
    started = time.perf_counter()
    wordnet = read_wordnet(Path(config.wordnet))
    if wordnet.notice is not None:
        say(wordnet.notice)
    lemmas = find_lemmas(words, wordnet, given)
    # A word itself goes in beside its base forms: one may stand in the other's lemmas.
    forms = {form for forms in lemmas.values() for form in forms}
    pairs = find_pairs(wordnet, forms.union(words))
    knowledge = Knowledge(pairs, lemmas)
    try:
        write_knowledge(knowledge, out)
    except OSError as error:
        raise UserError(f"--out {out}: cannot be written ({error.strerror})") from error
    seconds = time.perf_counter() - started
    print(
        f"{config.task}: {len(words):,} words, of which WordNet {wordnet.version} has "
        f"{len(lemmas):,}; {len(pairs):,} pairs have a relation ({seconds:.1f} s)"
    )
    for name, values in zip(NAMES, zip(*pairs.values(), strict=True), strict=False):
        print(f"  {name.replace('_', '-'):12} {sum(value > 0 for value in values):>9,}")
    print(f"written to {out}")
    return knowledge


def _texts(config: KnowledgeConfig) -> Iterator[str]:
    """The texts of all splits of the task and of the further ones."""
    own = with_columns(find_task(config.task), config.columns, config.unlabelled)
    folder = Path(config.task).parent if config.task.endswith(".toml") else None
    reading = config.reading(own.reading)
    yield from _of(load_task_data(config.data, own, reading=reading, folder=folder), own)
    for word in config.also:
        name, _, data = word.partition("=")
        if not data:
            raise UserError(f"--also {word}: write TASK=DATA, such as breaking_nli=FOLDER")
        other = find_task(name)
        yield from _of(load_task_data((data,), other), other)


def _of(data: TaskData, task: Task) -> Iterator[str]:
    for notice in data.notices:
        say(notice)
    if data.sample:
        say(SAMPLE_WARNING.format(task=task.name))
    for split in data.splits.values():
        for line in split.report():
            say(line)
        for example in split.examples:
            yield from example.texts
