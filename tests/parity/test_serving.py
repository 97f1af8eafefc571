"""The harness measures a model through `gptjax serve` as it measures it directly."""

import json

import numpy as np
import pytest
import yaml
from test_harness import (
    CONTEXT,
    DOCUMENTS,
    TASKS,
    WORDS,
    answers,
    evaluate,
    folder,  # noqa: F401
    kind,  # noqa: F401
    words,
)

from gptjax.evaluation.harness import GptjaxLM
from gptjax.evaluation.model import load
from tests.serving.conftest import serving

# Rows that fit into the context: of others the harness cuts the beginning, and with it what
# gptjax reads before every text.
OPTIONS = [
    {
        "question": words(30 + i, 1 + i % 4) + " " * (i % 3),
        "options": [words(60 + i, 1), words(70 + i, 3), "house", "river"],
        "answer": i % 4,
    }
    for i in range(6)
]
ROWS = {
    "last_word": [{"text": f"{words(i, 1 + i % 5)} {word}"} for i, word in enumerate(WORDS[:11])],
    "options": OPTIONS,
    "no_context": OPTIONS,
    "documents": DOCUMENTS,
    "continue": [{"text": words(120 + i, 1 + i % 5), "answer": WORDS[i]} for i in range(7)],
}


@pytest.fixture(scope="module")
def tasks(tmp_path_factory):
    place = tmp_path_factory.mktemp("tasks")
    for name, rows in ROWS.items():
        file = place / f"{name}.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))
        data = {"data_files": {"test": str(file)}, "cache_dir": str(place / "cache")}
        fields = {"dataset_path": "json", "dataset_kwargs": data, "test_split": "test"}
        task = yaml.safe_dump({"task": name, **fields, **TASKS[name]})
        (place / f"{name}.yaml").write_text(task)
    return place


@pytest.mark.parametrize("options", ["num_concurrent=1,batch_size=3", "num_concurrent=4"])
def test_local_completions_say_what_the_model_says_itself(folder, tasks, options):  # noqa: F811
    model = load(f"hf:{folder}")
    direct = evaluate(GptjaxLM(model), tasks, ROWS)
    with serving(model, length=CONTEXT, warm=False) as served:
        model_args = (
            f"model=it,base_url={served.server.address}/v1/completions,tokenizer={folder},"
            f"max_length={CONTEXT},{options}"
        )
        through = evaluate("local-completions", tasks, ROWS, model_args=model_args)
    for name in ROWS:
        said, wanted = answers(through, name), answers(direct, name)
        assert len(said) == len(wanted) >= len(ROWS[name])
        if name == "continue":
            assert said == wanted
        elif name == "documents":
            np.testing.assert_allclose(said, wanted, rtol=1e-5, atol=1e-4)
        else:
            logs = [[float(x) for x, _ in found] for found in (said, wanted)]
            np.testing.assert_allclose(*logs, rtol=1e-5, atol=1e-4)
            assert [greedy for _, greedy in said] == [greedy for _, greedy in wanted]
        for key, value in direct["results"][name].items():
            if isinstance(value, float):
                assert through["results"][name][key] == pytest.approx(value, rel=1e-4), key
