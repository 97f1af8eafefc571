"""A run opens as it was made: what was changed or damaged since then is refused, or said."""

import random
import shutil
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from gptjax.data.tasks.table import find_task
from gptjax.data.tasks.task_file import parse_task
from gptjax.errors import NoCheckpointError, UserError
from gptjax.models.config import ModelConfig
from gptjax.runs import head as heads
from gptjax.runs import open as runs
from gptjax.runs.folder import RunFolder
from gptjax.runs.identity import file_digests
from gptjax.runs.own_config import load_config
from gptjax.training.checkpoint import CheckpointConfig, Checkpoints
from tests.recorded.replay import HERE


def copied(name: str, to: Path) -> RunFolder:
    """A copy of a recorded run, which records what runs do today."""
    shutil.copytree(HERE / name, to / name)
    folder = RunFolder(to / name)
    shape = load_config(folder.path).shape()
    folder.update_meta(identity={"model": shape}, files=file_digests(folder))
    return folder


def change(path: Path, before: str, after: str) -> None:
    content = path.read_text(encoding="utf-8")
    assert before in content
    path.write_text(content.replace(before, after), encoding="utf-8")


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


def damage(checkpoint: Path) -> None:
    for path in checkpoint.rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.fixture
def pretrained(tmp_path) -> RunFolder:
    return copied("pretrained", tmp_path)


@pytest.mark.parametrize("name", ["pretrained", "lstm", "interrupted-finetuning"])
def test_an_old_run_opens_without_a_word(name, capsys):
    assert runs.load(HERE / name).step > 0
    assert capsys.readouterr().err == ""


def test_a_changed_shape_is_refused_by_name(pretrained):
    change(pretrained.config, "num_heads = 2", "num_heads = 4")
    for opened in (runs.load, runs.load_config):
        with pytest.raises(UserError, match=r"config\.toml: .*num_heads is 4, and was 2"):
            opened(pretrained.path)
    pretrained.meta.unlink()  # the checkpoints say it too
    with pytest.raises(UserError, match=r"config\.toml: .*its model is another"):
        runs.load(pretrained.path)


def test_another_setting_that_was_changed_is_said(pretrained, capsys):
    change(pretrained.config, "learning_rate = 0.01", "learning_rate = 0.81")
    runs.load(pretrained.path)
    assert "config.toml: is not as the run wrote it" in capsys.readouterr().err


def test_a_flipped_bit_in_the_tokenizer_is_refused(pretrained):
    model = pretrained.tokenizer / "tokenizer.model"
    whole, draw = model.read_bytes(), random.Random(0)
    for _ in range(15):
        flip(model, draw.randrange(len(whole)), draw.randrange(8))
        for opened in (runs.load, runs.load_own_tokenizer):
            with pytest.raises(UserError, match="tokenizer: is not as it was"):
                opened(pretrained.path)
        model.write_bytes(whole)


def test_a_changed_byte_pair_encoding_is_refused(tmp_path, pretrained):
    from gptjax.data.tokenizers.bpe import Gpt1Tokenizer
    from gptjax.data.tokenizers.bpe_files import Bpe

    pieces = ["<unk>", *"ab", "a</w>", "b</w>", "\n</w>", "ab", "ab</w>"]
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    tokenizer = Gpt1Tokenizer(Bpe(vocabulary, [("a", "b"), ("a", "b</w>")]), "fast")
    shutil.rmtree(pretrained.tokenizer)
    tokenizer.save(pretrained.tokenizer)
    meta = pretrained.read_meta()["fingerprints"]
    pretrained.update_meta(fingerprints={**meta, "tokenizer": tokenizer.fingerprint})
    for mode in (None, "fast", "exact"):  # another mode may be asked for
        assert runs.load_own_tokenizer(pretrained.path, mode).size == len(pieces)
    for name, before, after in (
        ("merges.txt", "a b\na b</w>", "a b</w>\na b"),
        ("gptjax.json", "fast", "exact"),
        ("vocab.json", '"a": 1, "b": 2', '"a": 2, "b": 1'),
    ):
        change(pretrained.tokenizer / name, before, after)
        for mode in (None, "fast"):
            with pytest.raises(UserError, match="tokenizer: is not as it was"):
                runs.load_own_tokenizer(pretrained.path, mode)
        change(pretrained.tokenizer / name, after, before)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda meta: meta.unlink(), "has no meta.json"),
        (lambda meta: meta.write_text("{"), "meta.json: is damaged, no JSON"),
        (
            lambda meta: change(meta, '"started": "2026', '"started": "2027'),
            "is damaged, or w",
        ),
    ],
)
def test_damaged_meta_is_said_and_the_checkpoints_are_asked(pretrained, capsys, spoil, said):
    spoil(pretrained.meta)
    assert runs.load(pretrained.path).checkpoint == "best/60"
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    flip(pretrained.tokenizer / "tokenizer.model", 900, 2)
    with pytest.raises(UserError, match="tokenizer: is not as it was"):
        runs.load(pretrained.path)


def test_changed_labels_are_refused(tmp_path):
    folder = copied("interrupted-finetuning", tmp_path)
    change(folder.task_file, '["bad", "good"]', '["good", "bad"]')
    with pytest.raises(UserError, match=r"task\.toml: .*its task is another"):
        runs.load(folder.path)
    change(folder.task_file, '["good", "bad"]', '["bad", "good"]')
    change(folder.task_file, "train.csv", "train.tsv")
    assert runs.load(folder.path).task.labels == ("bad", "good")


def test_a_run_without_its_task_is_refused(tmp_path):
    folder = copied("interrupted-finetuning", tmp_path)
    change(folder.config, "[task]", "[track]")
    with pytest.raises(UserError, match=r"task\.toml: .*its task is another"):
        runs.load(folder.path)


def test_a_run_without_fingerprints_opens_with_a_notice(pretrained, capsys):
    params = runs.load(pretrained.path).params
    shutil.rmtree(pretrained.checkpoints)
    writer = Checkpoints(pretrained.checkpoints, CheckpointConfig(), {})
    writer.save_best(60, params, {})
    writer.wait()
    pretrained.update_meta(fingerprints={})
    assert runs.load(pretrained.path).step == 60
    assert "recorded no fingerprint of its model and tokenizer" in capsys.readouterr().err


def test_a_damaged_best_is_never_replaced_silently(tmp_path, capsys):
    folder = copied("interrupted-pretraining", tmp_path)
    damage(folder.checkpoints / "best/4")
    for _ in range(2):
        with pytest.raises(NoCheckpointError, match=r"best/4 is damaged.*`checkpoint=last/7`"):
            runs.load(folder.path)
    assert runs.load(folder.path, "last/7").checkpoint == "last/7"
    assert capsys.readouterr().err == ""
    assert runs.load(folder.path, substitute=True).checkpoint == "last/7"
    assert "best/4 is damaged" in (said := capsys.readouterr().err)
    assert "last/7 is taken in its place" in said
    shutil.rmtree(folder.checkpoints / "best")
    assert runs.load(folder.path).checkpoint == "last/7"
    assert "best/4, is no longer there; last/7 is taken" in capsys.readouterr().err
    with pytest.raises(UserError, match="no checkpoint 'last/6'; there are: last/7"):
        runs.load(folder.path, "last/6")


NARROW = ModelConfig(width=8, num_heads=2)


@pytest.fixture
def head(tmp_path):
    """A task head in a file, and how it was written."""
    generator = np.random.default_rng(0)
    params = {
        "special_embedding": generator.normal(size=(3, 8)).astype(np.float32),
        "head": {
            "kernel": generator.normal(size=(8, 2)).astype(np.float32),
            "bias": np.zeros(2, np.float32),
        },
    }
    backbone = runs.load(HERE / "pretrained").params
    return tmp_path / "head.safetensors", (find_task("sst2"), backbone, params)


def test_the_same_head_is_the_same_bytes(head):
    path, content = head
    written = set()
    for _ in range(8):
        heads.write_head(path, *content)
        written.add(path.read_bytes())
    assert len(written) == 1
    run = runs.load(HERE / "pretrained", head=path)
    assert run.task.name == "sst2"
    assert (
        run.params["adapter"]["head"]["kernel"].tobytes() == content[2]["head"]["kernel"].tobytes()
    )


def test_a_head_has_the_file_of_a_task_of_ones_own(head):
    path, (_, backbone, params) = head
    text = 'format = "classification"\nlabels = ["cold", "warm"]\ncolumns.text = "said"\n'
    heads.write_head(path, parse_task(text, "mine", "mine.toml"), backbone, params)
    task = heads.read_head(path, NARROW).task
    assert (task.name, task.labels, task.columns["text"]) == ("mine", ("cold", "warm"), ("said",))


def test_no_flipped_bit_of_a_head_goes_through_silently(head):
    path, content = head
    heads.write_head(path, *content)
    assert heads.read_head(path, NARROW).notice is None
    whole = path.read_bytes()
    for place in range(0, len(whole), 5):
        flip(path, place, place % 8)
        with suppress(UserError):
            assert heads.read_head(path, NARROW).notice is not None
        path.write_bytes(whole)


def test_a_head_of_an_earlier_version_opens_with_a_notice(head, capsys):
    from safetensors.numpy import save_file

    path, (task, backbone, params) = head
    flat = {"special_embedding": params["special_embedding"]}
    flat |= {f"head.{name}": array for name, array in params["head"].items()}
    hashed = heads.backbone_fingerprint(backbone)
    save_file(flat, path, {"task": task.name, "task_file": "", "backbone": hashed})
    assert runs.load(HERE / "pretrained", head=path).task.name == "sst2"
    assert "has no fingerprint" in capsys.readouterr().err


def test_a_head_with_a_number_that_is_none_is_refused(head):
    path, (task, backbone, params) = head
    params["head"]["bias"][1] = np.inf
    with pytest.raises(UserError, match=r"is not written, since head\.bias holds inf at \[1\]"):
        heads.write_head(path, task, backbone, params)
