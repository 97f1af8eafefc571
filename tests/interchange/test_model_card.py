"""The model card, read back by the hub's own library."""

from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import ModelCard

from gptjax.cli import main
from gptjax.commands.export import _base_model, _dataset
from gptjax.interchange.export import Head
from gptjax.interchange.model_card import Measured, Provenance, card
from gptjax.models.config import ModelConfig

CONFIG = ModelConfig(vocabulary_size=300, context_length=16, num_layers=1, num_heads=2, width=8)
MATTHEWS = Measured("cola", "valid", 1043, {"matthews": 0.454, "accuracy": 0.78})


def head(kind="single"):
    return Head(kind, ("no", "yes"), {"head": np.zeros((8, 2))}, ("text",), False)


def made(results=(MATTHEWS,), head=None, data=None, **provenance):
    return card(
        title="run: 1 'x'",
        name="OpenAIGPTLMHeadModel",
        config=CONFIG,
        checkpoint="best/3",
        meta={"command": "gptjax finetune --task cola", "data": data or {}},
        results=results,
        head=head,
        exact=False,
        provenance=Provenance(**provenance),
    )


def test_the_hub_reads_it():
    told = {"license": "apache-2.0", "base_model": "openai-community/openai-gpt"}
    found = ModelCard(made(head=head(), dataset="nyu-mll/glue", **told))
    assert found.data.license == "apache-2.0"
    assert found.data.base_model == "openai-community/openai-gpt"
    assert found.data.datasets == "nyu-mll/glue"
    assert found.data.pipeline_tag == "text-classification"
    assert found.data.library_name == "transformers"
    assert found.data.tags == ["gptjax", "gpt-1"]
    assert found.data.model_name == "run: 1 'x'"
    matthews, accuracy = found.data.eval_results
    assert matthews.metric_type == "matthews_correlation"
    assert (matthews.metric_name, matthews.metric_value) == ("matthews", 0.454)
    assert (accuracy.metric_type, accuracy.metric_value) == ("accuracy", 0.78)
    assert {one.dataset_type for one in (matthews, accuracy)} == {"nyu-mll/glue"}
    assert {one.dataset_split for one in (matthews, accuracy)} == {"valid"}
    for title in ("Use", "Training", "Results", "Limits", "Licence"):
        assert f"\n## {title}\n" in found.text
    assert "`apache-2.0`" in found.text


def test_what_is_not_known_is_not_said():
    found = ModelCard(made(results=()))
    assert found.data.license is None
    assert found.data.base_model is None
    assert not found.data.eval_results
    assert found.data.pipeline_tag == "text-generation"
    assert "None was named." in found.text
    assert 'gptjax.load("hf:FOLDER")' in found.text


def test_the_made_up_sample_is_not_shown_as_the_task():
    found = ModelCard(made(head=head(), data={"sample": True}))
    assert not found.data.eval_results
    assert "not a published task" in found.text
    assert "0.454" in found.text


@pytest.mark.parametrize(
    ("source", "dataset"),
    [
        ("hub:nyu-mll/glue (cola, train)", "nyu-mll/glue"),
        ("hub:Salesforce/wikitext:wikitext-2-v1@abc", "Salesforce/wikitext"),
        ("path/to/train.tsv", None),
        ("offline sample", None),
        ("hub:/ (cola, train)", None),  # a mirror in a folder
    ],
)
def test_only_a_dataset_of_the_hub_is_named(source, dataset):
    assert _dataset(source) == dataset


@pytest.mark.parametrize(
    ("kind", "pipeline"), [("choice", "multiple-choice"), ("sum", "sentence-similarity")]
)
def test_what_it_is_for(kind, pipeline):
    found = ModelCard(made(head=head(kind)))
    assert found.data.pipeline_tag == pipeline
    assert "gptjax.load" not in found.text  # it opens no such head


def write_run(folder: Path, init: str) -> str:
    folder.mkdir()
    (folder / "config.toml").write_text(f'init = "{init}"\n')
    return str(folder)


def test_the_base_model_is_at_the_beginning_of_the_line(tmp_path):
    first = write_run(tmp_path / "first", "hf:openai-community/gpt2")
    second = write_run(tmp_path / "second", first)
    assert _base_model(second) == "openai-community/gpt2"
    assert _base_model("hf:openai-community/gpt2") == "openai-community/gpt2"
    assert _base_model(write_run(tmp_path / "third", "none")) is None
    # A folder of this machine is no model on the hub.
    assert _base_model(write_run(tmp_path / "fourth", f"hf:{tmp_path}")) is None
    assert _base_model(write_run(tmp_path / "fifth", str(tmp_path / "fifth"))) is None


def test_export_says_how_to_share(published, tmp_path, capsys):
    from gptjax.interchange import export

    config, params, tokenizer = published
    folder = tmp_path / "model"
    export.write(folder, config, params, tokenizer, None)
    words = ["export", "--run", f"hf:{folder}"]
    assert main([*words, "--out", str(tmp_path / "a")]) == 0
    said = capsys.readouterr().err
    assert f"hf upload USER/NAME {tmp_path / 'a'}" in said
    assert "names no licence" in said
    told = ["--license", "mit", "--base-model", "gpt2"]
    assert main([*words, "--out", str(tmp_path / "b"), *told]) == 0
    assert "names no licence" not in capsys.readouterr().err
    found = ModelCard.load(tmp_path / "b" / "README.md")
    assert (found.data.license, found.data.base_model) == ("mit", "gpt2")
