"""Real published files, where somebody has put them: their counts as published."""

import os
from pathlib import Path

import pytest

from gptjax.data.tasks.load import for_training, load_task_data
from gptjax.data.tasks.table import TASKS

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
    "breaking_nli": {"test": (4193, 0, [503, 28, 3662])},
}

if SHARED is not None:  # Nothing is there to be tested otherwise.

    @pytest.mark.parametrize("name", COUNTS)
    def test_counts(name):
        task = TASKS[name]
        data = load_task_data((str(Path(SHARED) / "data" / name),), task)
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
