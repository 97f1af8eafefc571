"""The numbers that OpenAI's own fine-tuning code gave, on synthetic weights and made-up stories.

The weights come from seeds. `tests/golden/original_tiny.json` holds token ids and a part of the
numbers; where GPTJAX_SHARED names the folder with all of them, they are read from there, and the
stories go the whole way from the csv file.
"""

import json
import os
from dataclasses import replace
from functools import cache
from pathlib import Path

import jax
import numpy as np
import pytest

from gptjax.data.tasks.buckets import Bucketed
from gptjax.data.tasks.formats import Specials, choice, encode
from gptjax.data.tasks.load import for_training, load_task_data
from gptjax.data.tasks.splits import Example, targets_of
from gptjax.data.tasks.table import TASKS
from gptjax.data.tokenizers.open import load_tokenizer
from gptjax.interchange import openai as openai_files
from gptjax.models import convert, objective
from gptjax.models.task_head import TaskHeadConfig
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer, make_schedule, resolve_update
from gptjax.training.tracking import Tracker, TrackingConfig

SHARED = os.environ.get("GPTJAX_SHARED")
GOLDEN = Path(__file__).parents[1] / "golden/original_tiny.json"
LAYERS, WIDTH, HEADS, SCALE, VOCABULARY = 2, 64, 4, 0.02, 40478
LENGTH = 99  # of the longest sequence of all splits, to which the original shortens the context
STEPS, BATCH = 24, 8
TASK = TASKS["rocstories"]


@cache
def golden():
    return json.loads(GOLDEN.read_text())


def number(name):
    return np.array(golden()["numbers"][name])


def draw(seed, shape, scale=SCALE):
    drawn = np.random.RandomState(seed).standard_normal(shape).astype(np.float32)
    return drawn * np.float32(scale)


def synthetic(shapes):
    """OpenAI's list of tensors, as the recording's description makes them from seeds."""
    tensors = []
    for index, shape in enumerate(shapes):
        gain = index >= 2 and (index - 2) % 12 in (4, 10)
        tensors.append(1 + draw(1000 + index, shape) if gain else draw(1000 + index, shape))
    return tensors


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """A folder in the format of the released weights, without the tokenizer."""
    folder = tmp_path_factory.mktemp("released")
    e = WIDTH
    block = [[1, e, 3 * e], [3 * e], [1, e, e], [e], [e], [e]]
    block += [[1, e, 4 * e], [4 * e], [1, 4 * e, e], [e], [e], [e]]
    shapes = [[512, e], [VOCABULARY, e], *block * LAYERS]
    (folder / "params_shapes.json").write_text(json.dumps(shapes))
    vector = np.concatenate([tensor.reshape(-1) for tensor in synthetic(shapes)])
    for part, values in enumerate(np.array_split(vector, 10)):
        np.save(folder / f"params_{part}.npy", values)
    return folder


def sequences_of(split):
    specials = Specials.after(VOCABULARY)
    stories = golden()["stories"][split]
    parts = [[np.array(ids, np.int32) for ids in (c, [], a, b)] for c, a, b, _ in stories]
    return [choice(part, specials, 512) for part in parts], [label for *_, label in stories]


def batch_of(sequences, labels):
    """The stories as the buckets make a batch of them, in their order and as long as recorded."""
    examples = [Example((), int(label), "", row) for row, label in enumerate(labels)]
    settings = {"context_length": LENGTH, "batch_size": len(labels), "seed": 0, "shuffle": False}
    data = Bucketed(sequences, examples, TASK, **settings)
    order = np.argsort(data.members(0, 0))
    batch = jax.tree.map(lambda x: x[order], data.batch(0, 0))
    room = ((0, 0), (0, 0), (0, LENGTH - batch.tokens.shape[-1]))
    return batch._replace(
        tokens=np.pad(batch.tokens, room), lm_weights=np.pad(batch.lm_weights, room)
    )


class Unshuffled:
    """The training stories in their order, eight at a time, in every epoch."""

    def __init__(self):
        self.batch_size = BATCH
        self._all = batch_of(*sequences_of("train"))

    def __len__(self):
        return 8

    def batch(self, epoch, index, rows=slice(None)):
        return jax.tree.map(lambda x: x[BATCH * index : BATCH * (index + 1)][rows], self._all)

    def describe(self, epoch, index):
        return f"stories {BATCH * index} to {BATCH * index + BATCH - 1}"


@pytest.fixture(scope="session")
def model(released):
    config = openai_files.read_config(released, HEADS)
    off = dict.fromkeys(("embedding_dropout", "attention_dropout", "residual_dropout"), 0.0)
    return replace(config, **off, fidelity="released")


@pytest.fixture(scope="session")
def params(released):
    backbone = openai_files.read_params(released, openai_files.read_config(released, HEADS))
    head = {"kernel": draw(8, (WIDTH, 1)), "bias": np.zeros(1, np.float32)}
    return {
        "backbone": backbone,
        "adapter": {"special_embedding": draw(7, (3, WIDTH)), "head": head},
    }


@pytest.fixture(scope="session")
def functions(model):
    return objective.task(
        model, TaskHeadConfig("choose", 2, 0.0), lm_coefficient=0.5, positions=LENGTH
    )


def train(functions, params, model, folder, steps):
    """Updates of the run of 24 by the ordinary loop: each step's metrics, the parameters after."""
    length = TrainConfig(steps=steps, batch_size=BATCH, log_every=1)
    config = OptimizerConfig(learning_rate=6.25e-5, warmup=0.002, schedule="linear")
    optimizer = make_optimizer(resolve_update(config, model.fidelity), STEPS)
    with Tracker(folder, TrackingConfig(tensorboard=False, progress=False)) as tracker:
        result = fit(
            functions.objective, Unshuffled(), length, optimizer, params=params, tracker=tracker
        )
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines], jax.device_get(result.params)


def per_story(functions, params, split, count=None):
    """Difference of the two logits, task loss and LM loss of each story, without training."""
    sequences, labels = sequences_of(split)
    loss = jax.jit(lambda p, b: functions.objective.loss(p, b, None, ())[0])
    sums = [
        loss(params, batch_of([item], [label]))
        for item, label in zip(sequences[:count], labels[:count], strict=True)
    ]
    batch = batch_of(sequences[:count], labels[:count])
    logs = np.asarray(jax.jit(functions.log_probabilities)(params, batch))
    losses = {
        name: np.array([float(s.metrics[name]) for s in sums]) for name in ("task_loss", "lm_loss")
    }
    return logs[:, 0] - logs[:, 1], losses["task_loss"], losses["lm_loss"]


def pairs(values):
    return values.reshape(-1, 2).mean(1)


@pytest.mark.parametrize(("split", "count"), [("train", 8), ("test", None)])
def test_forward_losses(functions, params, split, count):
    name = "train8" if split == "train" else "test"
    differences, task_losses, lm_losses = per_story(functions, params, split, count)
    logits = number(f"before_{name}_logits")
    task = number("step0_clf_losses" if split == "train" else "before_test_clf_losses")
    lm = number("step0_lm_losses" if split == "train" else "before_test_lm_losses")
    np.testing.assert_allclose(differences, logits[:, 0] - logits[:, 1], rtol=0, atol=1e-5)
    np.testing.assert_allclose(task_losses, task, rtol=0, atol=1e-5)
    np.testing.assert_allclose(lm_losses, pairs(lm), rtol=0, atol=1e-5)


def check_steps(lines, steps):
    assert len(lines) == steps
    for ours, theirs in (
        ("task_loss", "hist_clf_loss"),
        ("lm_loss", "hist_lm_loss"),
        ("loss", "hist_total"),
        ("grad_norm", "hist_gnorm"),
    ):
        measured, recorded = np.array([line[ours] for line in lines]), number(theirs)[:steps]
        np.testing.assert_allclose(measured, recorded, rtol=0, atol=1e-4, err_msg=ours)
    rates = [line["learning_rate"] for line in lines]
    expected = 6.25e-5 * np.array([0, *(1 - np.arange(1, steps) / STEPS)])
    np.testing.assert_allclose(rates, expected, rtol=1e-6)


def check_answers(functions, params, split, count):
    name = "train8" if split == "train" else "test"
    differences, task_losses, lm_losses = per_story(functions, params, split, count)
    logits = number(f"after_{name}_logits")
    np.testing.assert_allclose(differences, logits[:, 0] - logits[:, 1], rtol=0, atol=1e-3)
    if split == "test":
        np.testing.assert_allclose(task_losses, number("after_test_clf_losses"), rtol=0, atol=1e-4)
        np.testing.assert_allclose(
            lm_losses, pairs(number("after_test_lm_losses")), rtol=0, atol=1e-4
        )


def as_recorded(params, model):
    """Arrays in the recording's order: one table, the blocks, the head."""
    backbone, adapter = params["backbone"], params["adapter"]
    positions, tokens, *blocks = convert.to_openai(backbone, model)
    table = np.concatenate([tokens, adapter["special_embedding"], positions[:LENGTH]])
    return [table, *blocks, adapter["head"]["kernel"], adapter["head"]["bias"]]


def check_parameters(params, trained, model):
    before, after = as_recorded(params, model), as_recorded(trained, model)
    names = golden()["names"]
    assert len(before) == len(names)
    lengths = np.array([np.linalg.norm(x.astype(np.float64)) for x in after])
    moved = np.array(
        [np.linalg.norm((x - y).astype(np.float64)) for x, y in zip(after, before, strict=True)]
    )
    # The head's bias has no gradient but rounding noise, which Adam amplifies.
    known = [i for i, name in enumerate(names) if name != "model/clf/b:0"]
    np.testing.assert_allclose(lengths[known], number("final_l2")[known], rtol=1e-6)
    np.testing.assert_allclose(moved[known], number("final_delta_l2")[known], rtol=1e-5)


def check_validation_split(functions, params, trained):
    """Its numbers are not in the golden subset."""
    original = Path(SHARED) / "reference/original"
    recorded = np.load(original / "train_tiny.npz")
    ids = json.loads((original / "story_ids.json").read_text())["valid"]
    labels = np.load(original / "inputs.npz")["valid_y"].tolist()
    golden()["stories"]["valid"] = [list(s) for s in zip(*ids, labels, strict=True)]
    for when, values in (("before", params), ("after", trained)):
        differences, task, lm = per_story(functions, values, "valid")
        logits = recorded[f"{when}_valid_logits"]
        np.testing.assert_allclose(differences, logits[:, 0] - logits[:, 1], rtol=0, atol=1e-5)
        np.testing.assert_allclose(task, recorded[f"{when}_valid_clf_losses"], rtol=0, atol=1e-5)
        expected = pairs(recorded[f"{when}_valid_lm_losses"])
        np.testing.assert_allclose(lm, expected, rtol=0, atol=1e-5)


def test_the_first_training_steps(functions, params, model, tmp_path):
    """Losses, gradient norms and rates of four of the 24 steps, from the second on with Adam's."""
    lines, _ = train(functions, params, model, tmp_path, 4)
    check_steps(lines, 4)


@pytest.mark.slow  # half a minute of arithmetic
def test_24_training_steps_and_what_they_lead_to(functions, params, model, tmp_path):
    """Losses, gradient norms and rates of each; then logits, losses, and every tensor's movement.

    One test, so that the training is done by one worker.
    """
    lines, after = train(functions, params, model, tmp_path, STEPS)
    check_steps(lines, STEPS)
    check_answers(functions, after, "train", 8)
    check_answers(functions, after, "test", None)
    check_parameters(params, after, model)
    if SHARED is not None:
        check_validation_split(functions, params, after)


def test_the_oddities_are_in_the_numbers(model, params):
    """As the paper has it, the LM loss is another: the setting is not idle."""
    paper = replace(model, fidelity="paper")
    functions = objective.task(paper, TaskHeadConfig("choose", 2, 0.0), lm_coefficient=0.5)
    _, task_losses, lm_losses = per_story(functions, params, "train", 8)
    np.testing.assert_allclose(task_losses, number("step0_clf_losses"), rtol=0, atol=1e-5)
    assert (pairs(number("step0_lm_losses")) - lm_losses > 1e-3).all()


if SHARED is not None:
    ORIGINAL = Path(SHARED) / "reference/original"

    def test_the_golden_subset_is_a_part_of_the_recording():
        recorded = np.load(ORIGINAL / "train_tiny.npz")
        for name, values in golden()["numbers"].items():
            np.testing.assert_allclose(values, recorded[name], rtol=1e-7, err_msg=name)

    def test_stories_from_the_csv_file_have_the_originals_inputs():
        files = [f"train={ORIGINAL / 'stories_val.csv'}", f"test={ORIGINAL / 'stories_test.csv'}"]
        data = for_training(load_task_data(files, TASK), TASK)
        split = json.loads((ORIGINAL / "splits.json").read_text())["split"]["n80_valid16"]
        inputs = np.load(ORIGINAL / "inputs.npz")
        tokenizer = load_tokenizer(Path(SHARED) / "reference/gpt1_bpe")
        order = {"train": split["train"], "valid": split["valid"], "test": list(range(16))}
        for name, rows in order.items():
            examples = {example.row: example for example in data.splits[name].examples}
            assert sorted(examples) == sorted(rows)
            examples = [examples[row] for row in rows]
            sequences = encode(examples, TASK, tokenizer, 512).sequences
            batch = batch_of(sequences, targets_of(examples, TASK).argmax(1))
            np.testing.assert_array_equal(batch.tokens, inputs[f"{name}_x"][..., 0])
            mask = inputs[f"{name}_m"].astype(np.float32)
            np.testing.assert_array_equal(batch.lm_weights[..., 1:], mask[..., 1:])
            np.testing.assert_array_equal(batch.targets.argmax(1), inputs[f"{name}_y"])

    def test_every_recorded_learning_rate():
        for row in json.loads((ORIGINAL / "lr_table.json").read_text())["schedule_table"]:
            kinds = {
                "warmup_linear": "linear",
                "warmup_cosine": "cosine",
                "warmup_constant": "constant",
            }
            config = OptimizerConfig(1.0, warmup=row["warmup"], schedule=kinds[row["schedule"]])
            schedule = make_schedule(config, row["t_total"])
            inside = [
                (t, m)
                for t, m in zip(row["t"], row["multiplier"], strict=True)
                if t < row["t_total"]
            ]
            if row["schedule"] == "warmup_cosine":
                continue  # the paper's pre-training: a cosine from the end of the warm-up
            measured = [float(schedule(t)) for t, _ in inside]
            np.testing.assert_allclose(measured, [m for _, m in inside], rtol=0, atol=2e-6)

    @pytest.mark.slow
    def test_adamw_as_usual_is_near_and_another(functions, params):
        """Where epsilon stands is seen in the LM loss: the tolerance above would not hold."""
        config = OptimizerConfig(learning_rate=6.25e-5, warmup=0.002, schedule="linear")
        optimizer = make_optimizer(config, STEPS)
        length = TrainConfig(steps=STEPS, batch_size=BATCH)
        result = fit(functions.objective, Unshuffled(), length, optimizer, params=params)
        after = jax.device_get(result.params)
        differences, _, lm_losses = per_story(functions, after, "test")
        logits = number("after_test_logits")
        np.testing.assert_allclose(differences, logits[:, 0] - logits[:, 1], rtol=0, atol=1e-3)
        apart = np.abs(lm_losses - pairs(number("after_test_lm_losses"))).max()
        assert 2e-4 < apart < 2e-3
