"""Ask an exported model that chooses among options, or says how similar two texts are.

    from gptjax_predict import load

    predict = load(FOLDER)
    predict({"context": …, "question": …, "options": [...]})   # or {"first": …, "second": …}

`predict` gives a dictionary with `prediction` and the `probabilities` by name, as gptjax does. The
names, and the parts that a row has, are in `gptjax_head.json`. A row may have fewer options than
there are names. Its sequences of tokens are

    a choice, for each option:   start context question delimiter option extract
    similarity, in both orders:  start one delimiter the other extract

Every part is tokenized by itself, and a part may be empty. White space in a part is made uniform
(`" ".join(text.split())`). What is longer than the model's context is cut at its end: of a choice
the context and the question first, alike for every option, and the longest of them most.

A stand-alone file: it needs torch, transformers, safetensors and numpy, and not gptjax.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

START, DELIMITER, EXTRACT = "<|start|>", "<|delimiter|>", "<|extract|>"
Row = Mapping[str, Any]
Answer = dict[str, Any]


def load(folder: str | Path) -> Callable[[Row], Answer]:
    """A function that answers a row, with the model of an exported folder."""
    import transformers
    from safetensors.numpy import load_file

    folder = Path(folder)
    facts = json.loads((folder / "gptjax_head.json").read_text(encoding="utf-8"))
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    model = getattr(transformers, config["architectures"][0]).from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    room = model.config.n_positions
    if facts["format"] == "choice":
        return lambda row: choose(model, tokenizer, row, facts["labels"], room)
    head = load_file(folder / "gptjax_head.safetensors")
    return lambda row: compare(model, tokenizer, row, facts, room, head)


def choose(model: Any, tokenizer: Any, row: Row, names: Sequence[str], room: int) -> Answer:
    """The likeliest of the options of a row."""
    import torch

    sequences = choice_ids(
        tokenizer, row["context"], row.get("question") or "", row["options"], room
    )
    if not 2 <= len(sequences) <= len(names):
        raise ValueError(f"{len(sequences)} options; the model chooses among 2 to {len(names)}")
    longest = max(map(len, sequences))
    # Nothing reads the padding: a state sees what is before it.
    padded = [ids + [tokenizer.pad_token_id] * (longest - len(ids)) for ids in sequences]
    last = [len(ids) - 1 for ids in sequences]
    with torch.no_grad():
        found = model(input_ids=torch.tensor([padded]), mc_token_ids=torch.tensor([last]))
    probabilities = torch.softmax(found.mc_logits[0], -1).tolist()
    probabilities += [0.0] * (len(names) - len(probabilities))  # of options that the row lacks
    return _answer(names, probabilities, names[probabilities.index(max(probabilities))])


def compare(
    model: Any, tokenizer: Any, row: Row, facts: Row, room: int, head: Mapping[str, Any]
) -> Answer:
    """The likeliest class of the two texts of a row, or their expected score on a scale."""
    import torch

    added = 0.0
    for ids in similarity_ids(tokenizer, row["first"], row["second"], room):
        with torch.no_grad():
            states = model.transformer(input_ids=torch.tensor([ids])).last_hidden_state
        added = added + states[0, -1].numpy()
    logits = torch.tensor(added @ head["kernel"] + head["bias"])
    probabilities = torch.softmax(logits, -1).tolist()
    names = facts["labels"]
    prediction = names[probabilities.index(max(probabilities))]
    if facts["scale"]:
        prediction = sum(float(name) * p for name, p in zip(names, probabilities, strict=True))
    return _answer(names, probabilities, prediction)


def choice_ids(
    tokenizer: Any, context: str, question: str, options: Sequence[str], room: int
) -> list[list[int]]:
    """The tokens of each option's sequence, of at most ``room``."""
    first, second = part_ids(tokenizer, context), part_ids(tokenizer, question)
    ends = [part_ids(tokenizer, option) for option in options]
    lengths = [len(first), len(second), max(map(len, ends))]
    a, b, c = fit(lengths, room - 3, protected=2)
    return [_sequence(tokenizer, first[:a] + second[:b], end[:c]) for end in ends]


def similarity_ids(tokenizer: Any, first: str, second: str, room: int) -> list[list[int]]:
    """The tokens of both orders, of at most ``room`` each."""
    one, other = part_ids(tokenizer, first), part_ids(tokenizer, second)
    a, b = fit([len(one), len(other)], room - 3)
    return [
        _sequence(tokenizer, one[:a], other[:b]),
        _sequence(tokenizer, other[:b], one[:a]),
    ]


def part_ids(tokenizer: Any, text: str | float | None) -> list[int]:
    """The tokens of one part by itself; nothing is an empty text, a number is its digits."""
    clean = " ".join(str("" if text is None else text).split())
    return list(tokenizer(clean, add_special_tokens=False)["input_ids"])


def fit(lengths: Sequence[int], room: int, protected: int | None = None) -> list[int]:
    """How much of each part fits into ``room`` tokens together: the longest part gives first.

    The ``protected`` part stays whole if it fits beside one token of each other part, and
    otherwise gives like them.
    """
    lengths = list(lengths)
    if sum(lengths) <= room:
        return lengths
    if protected is not None and lengths[protected] <= room - (len(lengths) - 1):
        rest = [n for i, n in enumerate(lengths) if i != protected]
        cut = fit(rest, room - lengths[protected])
        return [*cut[:protected], lengths[protected], *cut[protected:]]
    # Fill up from the shortest: a part is cut only to the size of the longest that are left.
    result = [0] * len(lengths)
    for done, index in enumerate(sorted(range(len(lengths)), key=lambda i: lengths[i])):
        result[index] = min(lengths[index], room // (len(lengths) - done))
        room -= result[index]
    return result


def _sequence(tokenizer: Any, before: list[int], after: list[int]) -> list[int]:
    start, delimiter, extract = tokenizer.convert_tokens_to_ids([START, DELIMITER, EXTRACT])
    return [start, *before, delimiter, *after, extract]


def _answer(names: Sequence[str], probabilities: Sequence[float], prediction: Any) -> Answer:
    by_name = dict(zip(names, probabilities, strict=True))
    return {"prediction": prediction, "probabilities": by_name}
