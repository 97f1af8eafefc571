"""Hub datasets, from local folders with the hub's layout, through the production call."""

import pyarrow as pa
import pytest
from pyarrow import parquet

from gptjax.data.text.corpus import prepare
from gptjax.data.text.settings import CorpusConfig
from gptjax.data.text.sources import open_source
from gptjax.errors import UserError

README = """---
configs:
- config_name: plain
  data_files:
  - split: train
    path: plain/train-*.parquet
  - split: validation
    path: plain/validation-*.parquet
- config_name: upper
  data_files:
  - split: train
    path: upper/train-*.parquet
---
"""


@pytest.fixture
def repository(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    folder = tmp_path / "repository"
    for path, texts in {
        "plain/train-00000-of-00002.parquet": ["the old house", "a river\r\nin the morning"],
        "plain/train-00001-of-00002.parquet": ["she said never", None],
        "plain/validation-00000-of-00001.parquet": ["quiet garden"],
        "upper/train-00000-of-00001.parquet": ["THE OLD HOUSE"],
    }.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pa.table({"text": texts, "n": range(len(texts))}), folder / path)
    (folder / "README.md").write_text(README, encoding="utf-8")
    return folder


def read(data, **options):
    return ["".join(document.chunks) for document in open_source(data, **options).documents()]


def test_configs_and_splits(repository):
    assert read(f"hub:{repository}:plain") == [
        "the old house",
        "a river\nin the morning",
        "she said never",
        "",
    ]
    assert read(f"hub:{repository}:plain", split="validation") == ["quiet garden"]
    assert read(f"hub:{repository}:upper") == ["THE OLD HOUSE"]


def test_prepare(repository, tokenizer):
    data = f"hub:{repository}:plain"
    train, valid = prepare(CorpusConfig(data=data, validation=data), tokenizer)
    assert (train.num_documents, valid.num_documents) == (3, 1)
    assert train.dropped == {"empty": 1}
    assert tokenizer.decode(valid.tokens) == "quiet garden"
    assert train.fingerprint != valid.fingerprint


def test_refusals(repository):
    with pytest.raises(UserError, match=r"no configuration 'x'; it has 'plain', 'upper'"):
        read(f"hub:{repository}:x")
    with pytest.raises(UserError, match=r"choose a configuration .* 'plain', 'upper'"):
        read(f"hub:{repository}")
    with pytest.raises(UserError, match=r"no validation split; it has 'train'"):
        read(f"hub:{repository}:upper", split="validation")
    with pytest.raises(UserError, match=r"row 0: no column 'body'; it has 'text', 'n'"):
        read(f"hub:{repository}:upper", text_column="body")
    with pytest.raises(UserError, match="no dataset named"):
        read("hub:")


def test_without_a_network():
    with pytest.raises(UserError, match=r"hub:nobody/nothing`: .* local file or folder") as refused:
        read("hub:nobody/nothing")
    assert "\n" not in str(refused.value)
