"""Runs of pre-training and fine-tuning that are played, for scripts that compare several arms."""

from gptjax import config as configs
from gptjax.commands.pretrain import from_table
from gptjax.runs.folder import RunFolder, write_json
from tests.sweep.conftest import Player, config_of, finish_pretraining, finish_seeds, option


class Trainer(Player):
    """Plays pre-training, in which the lower learning rate is the better one, and fine-tuning."""

    def finish(self, words, folder):
        table = config_of(words)
        if "corpus" in table:
            read = from_table(table, "here")
            metric = "perplexity" if read.corpus.layout == "lm" else "reconstruction_perplexity"
            finish_pretraining(folder, 50 + 1e4 * read.optimizer.learning_rate, metric=metric)
            configs.write(read, folder / "config.toml")
            (folder / "tokenizer").mkdir(exist_ok=True)
            return
        seeds = [int(word) for word in option(words, "--seeds")]
        finish_seeds(folder, {seed: 0.9 - seed / 100 for seed in seeds})
        for seed in seeds:
            splits = {"train": {"examples": 50}, "valid": {"examples": 1234}}
            write_json(RunFolder(folder / f"seed-{seed}").meta, {"data": splits})
