"""The text of several review tasks, as one file that a byte-level language model can read.

    .venv/bin/python experiments/review_text.py --data FOLDER --out reviews.jsonl
    gptjax pretrain --config reviews --data reviews.jsonl

``FOLDER`` has a folder of published files for each task. What is written are the texts of their
training rows and of rows without labels, one document a row; test rows are left out.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from script import start

from gptjax.data.tasks.texts import open_sources
from gptjax.data.text.settings import CorpusConfig
from gptjax.errors import UserError

TASKS = Path(__file__).with_name("tasks")


@dataclass(frozen=True, kw_only=True)
class ReviewTextConfig:
    """Write the text of review tasks into one file."""

    data: Path
    """Folder with a folder of published files for each task."""
    out: Path
    """The file to write, .jsonl with the column `text`."""
    tasks: tuple[str, ...] = ("movie_reviews", "imdb", "amazon_review", "yelp_review", "pros_cons")
    """Which tasks."""


def main(config: ReviewTextConfig) -> None:
    """Write the file, and say how much of each task is in it."""
    if config.out.suffix != ".jsonl":
        raise UserError(f"--out {config.out}: it is written as .jsonl; name it so")
    lines = []
    for task in config.tasks:
        name = f"task:{TASKS / f'{task}.toml'}={config.data / task}"
        before = len(lines)
        for document in open_sources(CorpusConfig(data=name)).train.documents():
            lines.append(json.dumps({"text": "".join(document.chunks)}, ensure_ascii=False))
        size = sum(len(line.encode()) for line in lines[before:])
        print(f"{task}: {len(lines) - before:,} documents, {size:,} bytes")
    config.out.parent.mkdir(parents=True, exist_ok=True)
    config.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    start(main, ReviewTextConfig, __doc__)
