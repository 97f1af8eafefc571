"""What the server answers is what the library says, whoever asks beside it."""

import dataclasses
import json
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
from serving_load import malformed

from gptjax.evaluation.text_scores import continuations_of, score_spans
from gptjax.models.decode import generate
from gptjax.models.pool import ALTERNATIVES
from tests.serving.conftest import serving, until

WORDS = ("the", "ship", "fine", "red", "grim", "light", "house", "é", "cold", "garden", "?")


def text(seed, most=6):
    draw = random.Random(seed)
    return " ".join(draw.choices(WORDS, k=draw.randint(1, most)))


def asked_together(requests):
    """What each function returns, all at once."""
    with ThreadPoolExecutor(len(requests)) as threads:
        return [one.result() for one in [threads.submit(request) for request in requests]]


def test_labels_are_those_of_predict(mood):
    rows = [{"review": text(seed)} for seed in range(20)]
    expected = mood.model.predict(rows)

    def ask(part):
        return lambda: mood.post("/predict", {"rows": part})["predictions"]

    parts = [rows[:1], rows[1:4], rows[4:6], rows[6:]]
    found = [one for answers in asked_together(list(map(ask, parts))) for one in answers]
    assert [one["prediction"] for one in found] == [one["prediction"] for one in expected]
    for one, other in zip(found, expected, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)
    # Strings will do, and so do the task's own names.
    assert ask(["the fine red ship"])() == ask([{"text": "the fine red ship"}])()
    assert ask([])() == []


def test_log_probabilities_are_those_of_the_library(mood):
    """Texts, some longer than the context, and what follows a prompt."""
    texts = [*(text(seed) for seed in range(9)), "", text(5, 6) * 9]
    answers = mood.post("/log_probability", {"texts": texts})["answers"]
    found = [one["log_probability"] for one in answers]
    np.testing.assert_allclose(found, mood.model.log_probability(texts), rtol=1e-5, atol=1e-5)
    lengths = [len(ids) for ids in mood.model.tokenizer.encode(texts)]
    assert [one["tokens"] for one in answers] == lengths
    assert max(lengths) > 2 * 24
    pairs = [("the fine", " ship"), ("", "red"), ("a", "b" * 40)]
    scores = score_spans(mood.model, continuations_of(mood.model.tokenizer, pairs), 4)
    named = [{"prompt": prompt, "continuation": more} for prompt, more in pairs]
    answers = mood.post("/log_probability", {"pairs": named})["answers"]
    for one, score in zip(answers, scores, strict=True):
        assert one["log_probability"] == pytest.approx(score.log_probabilities.sum(), rel=1e-5)
        assert one["likeliest"] == bool(score.likeliest.all())
    (ids,) = mood.model.tokenizer.encode_beginnings(["the"])
    told = mood.post(
        "/v1/completions", {"prompt": ids.tolist(), "max_tokens": 1, "temperature": 0}
    )["choices"][0]["text"]
    pair = {"pairs": [{"prompt": "the", "continuation": told}]}
    assert mood.post("/log_probability", pair)["answers"][0]["likeliest"]


OPTIONS = [
    {"max_tokens": 12},
    {"max_tokens": 12, "temperature": 0.0},
    {"max_tokens": 3, "top_p": 0.5},
    {"max_tokens": 12, "temperature": 0.5, "top_k": 7},
    {"max_tokens": 3},
    {"max_tokens": 12, "stop": ["a", "th"]},
    {"max_tokens": 12, "temperature": 1.5},
]


def test_a_seed_gives_the_text_that_generate_writes_whoever_asks_beside(mood):
    """Alone, together with others, twice, as ids, with and without the prompt."""
    prompts = ("the", "red ship", "é ?")
    requests = [(prompts[seed % 3], {"seed": seed, **OPTIONS[seed % 7]}) for seed in range(21)]
    expected = [mood.model.generate(prompt, **options)[0] for prompt, options in requests]
    assert len(set(expected)) > 15

    def ask(prompt, options):
        return lambda: mood.write(prompt, **options)[0]

    together = asked_together([ask(prompt, {**own, "echo": True}) for prompt, own in requests])
    assert [one["text"] for one in together] == expected
    for (prompt, own), whole, one in zip(requests, expected, together, strict=True):
        ids = mood.model.tokenizer.encode_beginnings([prompt])[0].tolist()
        before = mood.model.tokenizer.decode(ids)
        assert ask(ids, own)()["text"] == whole.removeprefix(before)
        assert one["finish_reason"] in ("stop", "length")
    reasons = [one["finish_reason"] for one in together]
    assert reasons[1] == "length"
    assert "stop" in reasons[5::7]


def test_samples_and_prompts_come_in_order(mood):
    prompts, own = ["the", "red ship"], {"max_tokens": 8, "seed": 4}
    found = mood.write(prompts, n=3, **own)
    assert [one["index"] for one in found] == [0, 1, 2, 3, 4, 5]
    alone = [mood.write(prompt, n=3, **own) for prompt in prompts]
    assert [one["text"] for one in found] == [one["text"] for own in alone for one in own]
    assert all(len({one["text"] for one in own}) == 3 for own in alone)
    # Without a seed it is another text each time; an empty prompt begins a document.
    assert len({mood.write("", max_tokens=12)[0]["text"] for _ in range(4)}) > 1
    assert mood.write([])[0]["text"] is not None


def test_usage_counts_tokens(mood):
    ids = mood.model.tokenizer.encode_beginnings(["the ship"])[0].tolist()
    found = mood.post("/v1/completions", {"prompt": [ids] * 2, "max_tokens": 5, "temperature": 0})
    usage = found["usage"]
    assert usage["prompt_tokens"] == 2 * len(ids)
    assert usage["completion_tokens"] == 10
    assert usage["total_tokens"] == 2 * len(ids) + 10
    assert found["object"] == "text_completion"
    assert found["model"] == "it"


@pytest.mark.parametrize("echo", [False, True])
@pytest.mark.parametrize("most", [0, 1, 6])
def test_log_probabilities_of_tokens(mood, echo, most):
    """Of each token and of the likeliest ones, without temperature, with its place in the text."""
    prompt, tokenizer = "thé fine red", mood.model.tokenizer
    ids = tokenizer.encode_beginnings([prompt])[0].tolist()
    options = {"max_tokens": most, "temperature": 0.0, "echo": echo}
    (found,) = mood.write(prompt, logprobs=3, **options)
    (plain,) = mood.write(prompt, **options)
    assert found["text"] == plain["text"]
    told = found["logprobs"]
    shown = (len(ids) if echo else 0) + most
    assert {len(values) for values in told.values()} == {shown}
    if not shown:
        return
    (whole,) = mood.model.generate(prompt, max_tokens=max(most, 1), temperature=0.0)
    more = tokenizer.encode_beginnings([whole])[0].tolist()[len(ids) :][:most]
    logits = mood.model.logits(tokenizer.decode([*ids, *more]))
    logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    begin = 0 if echo else len(ids)
    everything = [*ids, *more]
    if most == 0 or tokenizer.encode([tokenizer.decode(everything)])[0].tolist() == everything:
        expected = [logs[begin + n, token] for n, token in enumerate(everything[begin:])]
        np.testing.assert_allclose(told["token_logprobs"], expected, atol=1e-4)
        for n, top in enumerate(told["top_logprobs"]):
            best = np.sort(logs[begin + n])[::-1]
            np.testing.assert_allclose(max(top.values()), best[0], atol=1e-4)
            assert 1 <= len(top) <= 4
    for place, name in zip(told["text_offset"], told["tokens"], strict=True):
        if "\ufffd" not in name and place:
            assert found["text"][place:].startswith(name)


def test_exactly_one_token_is_new_for_the_harness(mood):
    """Even where the new token is the end of a text, or the prompt begins with the separator."""
    tokenizer = mood.model.tokenizer
    ids = tokenizer.encode_beginnings(["the cold ship"])[0].tolist()
    ask = {"max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True}
    (one,) = mood.write([ids], **ask)
    assert len(one["logprobs"]["tokens"]) == len(ids) + 1
    assert one["logprobs"]["token_logprobs"][0] is not None
    (other,) = mood.write([[tokenizer.separator, *ids]], **ask)
    assert len(other["logprobs"]["tokens"]) == len(ids) + 2
    assert other["logprobs"]["token_logprobs"][0] is other["logprobs"]["top_logprobs"][0] is None
    for key in ("tokens", "token_logprobs", "text_offset"):
        assert other["logprobs"][key][1:] == one["logprobs"][key]
    # The one pass over prompt and token finds what writing finds.
    (written,) = mood.write([ids], **{**ask, "temperature": 1e-6})
    assert written["text"] == one["text"]
    close = pytest.approx(one["logprobs"]["token_logprobs"], abs=1e-4)
    assert written["logprobs"]["token_logprobs"] == close


def test_a_prompt_may_fill_the_context(mood):
    model, ids = mood.model, [*range(40, 63)]  # with the separator 24
    prompt, end = [model.tokenizer.separator, *ids], model.tokenizer.end
    for seed, temperature in enumerate((0.0, 1.0, 1.0)):
        own = {"max_tokens": 1, "temperature": temperature}
        key = jax.random.key(seed)
        ((new,),) = generate(model.model, model.backbone, [prompt], key, end=end, **own)
        (one,) = mood.write(ids, seed=seed, echo=True, **own)
        assert one["text"] == model.tokenizer.decode([*ids, *new])
    error = mood.refused("/v1/completions", {"prompt": ids, "max_tokens": 2})
    assert error["code"] == "context_length_exceeded"
    assert "23 tokens" in error["message"]


def events(body):
    """The values of a stream of events, which has to end as OpenAI's do."""
    lines = [line for line in body.decode().split("\n\n") if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines.pop() == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


@pytest.mark.parametrize("options", [*OPTIONS, {"max_tokens": 16, "n": 3, "logprobs": 2}])
def test_a_stream_adds_up_to_the_answer(mood, options):
    asked = {"prompt": ["the ship", "a"], "seed": 6, "echo": "stop" in options, **options}
    expected = mood.post("/v1/completions", asked)
    streamed = {**asked, "stream": True, "stream_options": {"include_usage": True}}
    _, headers, body = mood.request("POST", "/v1/completions", json.dumps(streamed))
    assert headers["content-type"].startswith("text/event-stream")
    *parts, last = events(body)
    assert last["choices"] == []
    assert last["usage"] == expected["usage"]
    for index, whole in enumerate(expected["choices"]):
        own = [one for part in parts for one in part["choices"] if one["index"] == index]
        assert "".join(one["text"] for one in own) == whole["text"]
        assert [one["finish_reason"] for one in own[:-1]] == [None] * (len(own) - 1)
        assert own[-1]["finish_reason"] == whole["finish_reason"]
        if whole["logprobs"] is not None:
            for key, values in whole["logprobs"].items():
                assert [x for one in own for x in one["logprobs"][key]] == values
    if options["max_tokens"] == 16:
        assert len(parts) > len(expected["choices"])


def test_a_stop_text_is_not_told_of(mood):
    (whole,) = mood.write("the", max_tokens=20, seed=3)
    stop = whole["text"][5:8]
    assert len(stop) == 3
    (cut,) = mood.write("the", max_tokens=20, seed=3, stop=stop, logprobs=0)
    assert cut["text"] == whole["text"][: whole["text"].index(stop)]
    assert cut["finish_reason"] == "stop"
    told = cut["logprobs"]
    assert all(place < len(cut["text"]) for place in told["text_offset"])
    found = mood.post(
        "/v1/completions", {"prompt": "the", "max_tokens": 20, "seed": 3, "stop": stop}
    )
    assert found["usage"]["completion_tokens"] == len(told["tokens"]) < 20


REFUSED = [
    ("/predict", {"rows": [{"other": "a"}]}, "row 0: no column for the text"),
    ("/predict", {"rows": ["a", 3]}, "row 1: a int"),
    ("/predict", {"rows": "a"}, "`rows` is no list"),
    ("/predict", {"rows": ["a"] * 41}, "has 41 rows; give at most 40"),
    ("/predict", ["a"], "the body is a list; give an object"),
    ("/predict", {"row": []}, "unknown field 'row'; known are rows"),
    ("/log_probability", {}, "either `texts` or `pairs`"),
    ("/log_probability", {"texts": ["\ud800"]}, "half of a surrogate pair"),
    ("/log_probability", {"texts": [1]}, "`texts` is no text"),
    ("/log_probability", {"pairs": [{"prompt": "a"}]}, "`prompt` and for `continuation`"),
    ("/log_probability", {"pairs": ["a"]}, "is a text; give an object"),
    ("/v1/completions", {"prompt": {"a": 1}}, "a list of lists of ids"),
    ("/v1/completions", {"prompt": [1, True]}, "a list of lists of ids"),
    ("/v1/completions", {"prompt": [[310]]}, "an id 310; give ids below 310"),
    ("/v1/completions", {"prompt": [-1]}, "an id -1"),
    ("/v1/completions", {"prompt": [10**40]}, "of many digits"),
    ("/v1/completions", {"prompt": ["a"] * 41}, "41 prompts; give at most 40"),
    ("/v1/completions", {"prompt": ["a"] * 5, "n": 9}, "45 texts"),
    ("/v1/completions", {"max_tokens": -1}, "`max_tokens` is out of range; give 0 to 24"),
    ("/v1/completions", {"max_tokens": 2.0}, "is a number; give a whole number"),
    ("/v1/completions", {"max_tokens": True}, "is true or false; give a whole number"),
    ("/v1/completions", {"temperature": "hot"}, "is a text; give a number"),
    ("/v1/completions", {"temperature": -0.1}, "is out of range; give 0 to 100"),
    ("/v1/completions", {"top_p": 0}, "`top_p` is out of range"),
    ("/v1/completions", {"logprobs": ALTERNATIVES + 1}, "give 0 to 5"),
    ("/v1/completions", {"stop": ""}, "`stop` has a text that is empty"),
    ("/v1/completions", {"stop": ["a"] * 17}, "has 17 texts; give at most 16"),
    ("/v1/completions", {"seed": -1}, "`seed` is out of range"),
    ("/v1/completions", {"best_of": 2}, "`best_of` is not done here"),
    ("/v1/completions", {"suffix": "x"}, "`suffix` is not done here"),
    ("/v1/completions", {"presence_penalty": False}, "`presence_penalty` is not done here"),
    ("/v1/completions", {"stream": 1}, "`stream` is a number; give true or false"),
    ("/v1/completions", {"stream_options": {"include_usage": True}}, "is for a stream"),
    ("/v1/completions", {"messages": []}, "unknown field 'messages'"),
]


@pytest.mark.parametrize(("path", "body", "message"), REFUSED)
def test_what_is_wrong_is_said(mood, path, body, message):
    error = mood.refused(path, body)
    assert message in error["message"]
    assert error["type"] == "invalid_request_error"
    assert "\n" not in error["message"]


def test_neutral_values_of_what_is_not_done_are_accepted(mood):
    neutral = {"best_of": 1, "frequency_penalty": 0.0, "logit_bias": {}, "presence_penalty": 0}
    neutral |= {"suffix": None, "user": "me", "model": "it", "stop": None, "logprobs": None}
    assert mood.write("a", max_tokens=2, temperature=0, **neutral)


def test_other_paths_methods_and_models(mood):
    until(lambda: mood.asking.engine.rows == 0)
    assert json.loads(mood.request("GET", "/health")[2]) == {
        "status": "ok",
        "model": "it",
        "rows": 0,
    }
    (model,) = json.loads(mood.request("GET", "/v1/models")[2])["data"]
    assert (model["id"], model["object"]) == ("it", "model")
    error = mood.refused("/v1/completions", {"model": "gpt-4"}, 404)
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "there are /predict" in mood.refused("/v1/chat/completions", {}, 404)["message"]
    status, _, body = mood.request("GET", "/predict")
    assert status == 405
    assert json.loads(body)["error"]["type"] == "invalid_request_error"
    for body in (b"", b"{", b"\xff", b"[" * 20_000, b'{"prompt": NaN}', b"9" * 5000):
        status, _, found = mood.request("POST", "/v1/completions", body)
        assert status == 400
        assert "the body is no JSON" in json.loads(found)["error"]["message"]


def test_a_body_that_is_too_large(mood):
    status, _, body = mood.request("POST", "/predict", b" " * 50_001)
    assert status == 413
    assert "larger than 50,000 bytes" in json.loads(body)["error"]["message"]
    whole = b'{"rows": ["a"]}'
    assert mood.request("POST", "/predict", whole + b" " * (50_000 - len(whole)))[0] == 200


def test_a_pretrained_run_has_no_labels(pretrained):
    with serving(pretrained, warm=False) as served:
        error = served.refused("/predict", {"rows": ["a"]}, 404)
        assert error["code"] == "not_supported"
        assert error["message"] == "a pre-trained run has no task; serve a fine-tuned one"
        assert served.write("the", max_tokens=2)


def test_malformed_bodies_end_nothing(mood):
    draw = random.Random(0)
    found = []
    for _ in range(300):
        path, body = malformed(draw)
        try:
            status, _, answer = mood.request("POST", path, body)
        except ConnectionError:  # it has not read all of a huge body
            found.append(413)
            continue
        found.append(status)
        assert status in (200, 400, 404, 413), (path, body[:200], answer[:200])
        if status != 200:
            assert json.loads(answer)["error"]["message"]
    assert found.count(400) > 100
    assert 413 in found
    test_a_seed_gives_the_text_that_generate_writes_whoever_asks_beside(mood)
    until(lambda: mood.asking.engine.rows == 0)


@pytest.mark.slow
def test_texts_of_several_lengths(recorded):
    """Of a recurrent model, whose parameters are the same for any context."""
    model = recorded("lstm")
    model = dataclasses.replace(model, model=dataclasses.replace(model.model, context_length=80))
    with serving(model, length=80, batch_size=4) as served:
        assert served.asking.limits.lengths() == (32, 64, 80)
        requests = [(text(seed, 1) * (1 + 2 * (seed % 4)), seed) for seed in range(8)]

        def ask(prompt, seed):
            options = {"max_tokens": 20, "seed": seed, "echo": True}
            return lambda: served.write(prompt, **options)[0]["text"]

        found = asked_together([ask(*one) for one in requests])
        expected = [model.generate(p, max_tokens=20, seed=seed)[0] for p, seed in requests]
        assert found == expected
        long = served.post("/log_probability", {"texts": [text(3) * 3]})["answers"]
        assert long[0]["tokens"] > 24


def test_two_threads_of_one_process_can_serve(mood, pretrained):
    """Nothing of a server is the process's: signals are the command's business."""
    assert threading.current_thread() is threading.main_thread()
    with serving(pretrained, warm=False) as other:
        expected = pretrained.generate("the", max_tokens=4, seed=1)
        assert [other.write("the", max_tokens=4, seed=1, echo=True)[0]["text"]] == expected
