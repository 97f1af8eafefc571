"""Real published files, where somebody has put them: their counts as published."""

import os
from pathlib import Path

import pytest

from gptjax.data.tasks.load import for_training, load_task_data
from gptjax.data.tasks.table import TASKS, find_task

SHARED = os.environ.get("GPTJAX_SHARED")
# task -> split -> (examples, left out, numbers of each label)
COUNTS = {
    "snli": {"train": (8999, 0, [2981, 2994, 3024]), "valid": (1273, 16, [433, 421, 419])},
    "rte": {
        "train": (2190, 0, [1095, 1095]),
        "valid": (277, 0, [146, 131]),
        "test": (3000, 0, None),
    },
    "qnli": {"train": (8999, 0, [4523, 4476]), "valid": (4463, 0, [2223, 2240])},
    "mrpc": {"train": (3667, 0, [1194, 2473]), "valid": (408, 0, [129, 279])},
    "qqp": {"train": (8999, 0, [5747, 3252]), "valid": (9917, 0, [4944, 4973])},
    "stsb": {"train": (5749, 0, None), "valid": (1500, 0, None)},
    "race": {"train": (12667, 0, [2789, 3352, 3406, 3120]), "valid": (4887, 0, None)},
    "rocstories": {"train": (1497, 0, None), "valid": (374, 0, None)},
    "sst2": {"train": (67349, 0, [29780, 37569]), "valid": (872, 0, [428, 444])},
    "cola": {
        "train": (8551, 0, [2528, 6023]),
        "valid": (527, 0, [162, 365]),
        "test": (1063, 0, None),
    },
    "imdb": {"train": (900, 0, None), "valid": (100, 0, None), "test": (750, 0, [374, 376])},
    "ag_news": {
        "train": (900, 0, None),
        "valid": (100, 0, None),
        "test": (750, 0, [195, 193, 181, 181]),
    },
    "trec": {
        "train": (4905, 0, None),
        "valid": (547, 0, None),
        "test": (375, 0, [6, 72, 104, 46, 54, 93]),
    },
    "sst5": {
        "train": (8544, 0, [1092, 2218, 1624, 2322, 1288]),
        "valid": (1101, 0, [139, 289, 229, 279, 165]),
        "test": (1658, 0, [225, 466, 290, 378, 299]),
    },
    "mr": {"train": (8636, 0, None), "valid": (960, 0, None)},
    "cr": {"train": (3054, 4, None), "valid": (339, 0, None)},
    "mpqa": {"train": (8489, 2, None), "valid": (1055, 0, None)},
    "subj": {"train": (8100, 0, None), "valid": (900, 0, None)},
    "breaking_nli": {"test": (4193, 0, [503, 28, 3662])},
}

if SHARED is not None:  # Nothing is there to be tested otherwise.
    LARGE = ("sst2", "race", "qqp", "mpqa", "pros_cons")  # take seconds each

    def large_are_slow(names):
        return [
            pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in names
        ]

    @pytest.mark.parametrize("name", large_are_slow(COUNTS))
    def test_counts(name):
        task = TASKS[name]
        folder = Path(SHARED) / "data" / {"sst5": "sst1"}.get(name, name)
        data = load_task_data((str(folder),), task)
        if "train" in COUNTS[name]:
            data = for_training(data, task)
        assert data.splits.keys() == COUNTS[name].keys()
        for split, (examples, dropped, labels) in COUNTS[name].items():
            found = data.splits[split]
            assert len(found.examples) == examples
            assert sum(found.dropped.values()) == dropped
            targets = [example.target for example in found.examples]
            if labels is not None:
                assert [targets.count(number) for number in range(task.num_classes)] == labels

    # Task file -> folder, and split -> (examples, left out, numbers of each label).
    OWN = {
        "trec": ("trec", {"train": (5452, 0, [86, 1162, 1250, 1223, 835, 896])}),
        "sst5": ("sst1", {"train": (8544, 0, [1092, 2218, 1624, 2322, 1288])}),
        "sst2_raw": ("sst2_raw", {"train": (6920, 0, [3310, 3610]), "test": (1366, 0, [687, 679])}),
        "mr": ("mr", {"train": (9596, 0, [4798, 4798])}),
        "cr": ("cr", {"train": (3393, 4, [1229, 2164])}),
        "mpqa": ("mpqa", {"train": (9544, 2, [6563, 2981])}),
        "subj": ("subj", {"train": (9000, 0, [4500, 4500])}),
        "imdb": ("imdb", {"train": (1000, 0, [500, 500]), "test": (750, 0, [374, 376])}),
        "ag_news": ("ag_news", {"train": (1000, 0, [250] * 4), "test": (750, 0, None)}),
        "yelp_review": ("yelp_review", {"train": (1000, 0, [200] * 5)}),
        "amazon_review": ("amazon_review", {"train": (1000, 0, [200] * 5)}),
        "sentences": (
            "sentences",
            {"train": (900, 0, [451, 449]), "valid": (900, 0, None), "test": (892, 0, [451, 441])},
        ),
        "movie_reviews": ("movie_reviews", {"train": (1800, 0, [900, 900])}),
        "pros_cons": ("pros_cons", {"train": (23997, 3, [11998, 11999])}),
    }

    @pytest.mark.parametrize("name", large_are_slow(OWN))
    def test_task_files_of_ten_lines(name):
        """What others published, by the task files of experiments/tasks."""
        file = Path(__file__).parents[3] / "experiments/tasks" / f"{name}.toml"
        assert len(file.read_text().splitlines()) <= 10
        task, (folder, splits) = find_task(str(file)), OWN[name]
        data = load_task_data((str(Path(SHARED) / "data" / folder),), task)
        for split, (examples, dropped, labels) in splits.items():
            found = data.splits[split]
            targets = [example.target for example in found.examples]
            assert (len(targets), sum(found.dropped.values())) == (examples, dropped)
            rows = [example.row for example in found.examples]
            assert rows == sorted(set(rows))
            if labels is not None:
                assert [targets.count(number) for number in range(task.num_classes)] == labels
            assert not any(
                text.startswith("<") for one in found.examples[:50] for text in one.texts
            )
