"""Training in a notebook, with a real kernel: the bar is the notebook's own widget."""

import nbformat
import pytest
from nbclient import NotebookClient

WIDGET = "application/vnd.jupyter.widget-view+json"
CELL = """
import gptjax
run = gptjax.pretrain(
    "tiny",
    data=["the old house by the river. " * 40] * 20,
    out={out!r},
    model={{
        "vocabulary_size": 280, "context_length": 16, "num_layers": 1, "num_heads": 2, "width": 16
    }},
    train={{"steps": 12, "batch_size": 4}},
    optimizer={{"warmup": 2}},
    tracking={{"tensorboard": False}},
)
run
"""


@pytest.mark.slow
def test_a_bar_is_drawn(tmp_path, monkeypatch):
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(CELL.format(out=str(tmp_path / "run")))]
    )
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    outputs = notebook.cells[0].outputs
    shown = [one["data"] for one in outputs if one.output_type == "display_data"]
    bars = [data for data in shown if WIDGET in data]
    assert bars
    assert any("step" in data["text/plain"] for data in bars)
    (result,) = [one for one in outputs if one.output_type == "execute_result"]
    assert "<table>" in result["data"]["text/html"]
