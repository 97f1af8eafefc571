"""What is asked for in the body of a request, checked."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gptjax.errors import LARGEST
from gptjax.models.pool import ALTERNATIVES
from gptjax.serving.fields import Fields
from gptjax.serving.limits import Limits
from gptjax.serving.refusal import Refusal

USUAL_TOKENS = 16  # that are added where a request does not say, as OpenAI's API has it
MOST_STOPS, LONGEST_STOP = 16, 256  # texts, characters
HOTTEST = 100.0  # temperature
# What OpenAI's clients may send that is not done here, with the values that change nothing.
NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "frequency_penalty": (0,),
    "logit_bias": ({},),
    "presence_penalty": (0,),
    "suffix": ("",),
}
COMPLETION = (
    *("model", "prompt", "max_tokens", "temperature", "top_p", "top_k", "n", "stop", "seed"),
    *("echo", "logprobs", "stream", "stream_options", "user", *NEUTRAL),
)

Prompt = str | list[int]


@dataclass(frozen=True)
class Completion:
    """A body of `/v1/completions`."""

    prompts: list[Prompt]
    max_tokens: int
    temperature: float
    top_p: float
    top_k: int
    samples: int  # of each prompt
    stop: Sequence[str]
    seed: int
    echo: bool
    logprobs: int | None  # how many of the likeliest tokens to tell of; None: nothing
    stream: bool
    usage: bool  # whether a stream ends with the counts of tokens


def completion(body: Any, limits: Limits, model: str, vocabulary: int) -> Completion:
    """Read the body of `/v1/completions`.

    Args:
        body: from `fields.parsed`.
        limits: of the server.
        model: the name that the field model may have.
        vocabulary: how many ids there are.

    Raises:
        Refusal: it is wrong.
    """
    fields = Fields(body, COMPLETION)
    if fields.get("model") not in (None, model):
        message = f"there is no such model here; this server has {model!r}"
        raise Refusal(404, message, param="model", code="model_not_found")
    for name, usual in NEUTRAL.items():
        value = fields.get(name)
        if value is not None and (isinstance(value, bool) or value not in usual):
            fields.refuse(name, "is not done here; leave it out")
    told = fields.has("logprobs")
    stream = fields.flag("stream")
    made = Completion(
        prompts=_prompts(fields, limits, vocabulary),
        max_tokens=fields.integer("max_tokens", USUAL_TOKENS, 0, limits.length),
        temperature=fields.number("temperature", 1.0, 0.0, HOTTEST),
        top_p=fields.number("top_p", 1.0, 1e-6, 1.0),
        top_k=fields.integer("top_k", 0, 0, LARGEST),
        samples=fields.integer("n", 1, 1, limits.rows),
        stop=_stops(fields),
        seed=fields.integer("seed", secrets.randbelow(LARGEST), 0, LARGEST),
        echo=fields.flag("echo"),
        logprobs=fields.integer("logprobs", 0, 0, ALTERNATIVES) if told else None,
        stream=stream,
        usage=_wants_usage(fields, stream),
    )
    if (rows := len(made.prompts) * made.samples) > limits.rows:
        fields.refuse("n", f"makes {rows:,} texts of these prompts; ask for at most {limits.rows}")
    return made


def _prompts(fields: Fields, limits: Limits, vocabulary: int) -> list[Prompt]:
    """A text, a list of texts, a list of ids, or a list of lists of ids."""
    given = fields.get("prompt")
    if given is None:
        return [""]
    several: list[Any] = given if isinstance(given, list) else [given]
    if given == [] or (isinstance(given, list) and all(map(_is_id, given))):
        several = [given]
    if len(several) > limits.rows:
        fields.refuse("prompt", f"has {len(several):,} prompts; give at most {limits.rows:,}")
    for number, one in enumerate(several):
        if isinstance(one, str):
            continue
        if not isinstance(one, list) or not all(map(_is_id, one)):
            wanted = "a text, a list of texts, a list of ids, or a list of lists of ids"
            fields.refuse("prompt", f"is none: give {wanted}")
        if wrong := [id for id in one if not 0 <= id < vocabulary]:
            told = wrong[0] if abs(wrong[0]) < 10**9 else "of many digits"
            fields.refuse("prompt", f"{number} has an id {told}; give ids below {vocabulary:,}")
    return several


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _stops(fields: Fields) -> list[str]:
    stops = fields.texts("stop", MOST_STOPS)
    if any(not 0 < len(stop) <= LONGEST_STOP for stop in stops):
        fields.refuse("stop", f"has a text that is empty or has over {LONGEST_STOP} characters")
    return stops


def _wants_usage(fields: Fields, stream: bool) -> bool:
    if not fields.has("stream_options"):
        return False
    if not stream:
        fields.refuse("stream_options", "is for a stream; leave it out, or set `stream`")
    options = Fields(fields.get("stream_options"), ("include_usage", "include_obfuscation"))
    return options.flag("include_usage")


def rows(body: Any, limits: Limits) -> list[Any]:
    """The rows of a body of `/predict`: ``{"rows": […]}``.

    Raises:
        Refusal: it is wrong.
    """
    fields = Fields(body, ("rows",))
    found = fields.get("rows")
    if not isinstance(found, list):
        fields.refuse("rows", "is no list; give a list of rows, each an object or a text")
    if len(found) > limits.rows:
        fields.refuse("rows", f"has {len(found):,} rows; give at most {limits.rows:,} at a time")
    return found


@dataclass(frozen=True)
class Pairs:
    """Texts, and what comes before each of them."""

    pairs: list[tuple[str, str]]  # prompt and continuation


def texts_or_pairs(body: Any, limits: Limits) -> list[str] | Pairs:
    """What a body of `/log_probability` asks for.

    It is ``{"texts": […]}``, or ``{"pairs": [{"prompt": …, "continuation": …}, …]}``.

    Raises:
        Refusal: it is wrong.
    """
    fields = Fields(body, ("texts", "pairs"))
    if fields.has("texts") == fields.has("pairs"):
        raise Refusal(400, "give either `texts` or `pairs`")
    if fields.has("texts"):
        return fields.texts("texts", limits.rows)
    found = fields.get("pairs")
    if not isinstance(found, list):
        fields.refuse("pairs", "is no list; give a list of objects")
    if len(found) > limits.rows:
        fields.refuse("pairs", f"has {len(found):,} pairs; give at most {limits.rows:,}")
    names = ("prompt", "continuation")
    pairs = []
    for one in found:
        both = tuple(Fields(one, names).get(name) for name in names)
        if not all(isinstance(text, str) for text in both):
            fields.refuse("pairs", "has one without a text for `prompt` and for `continuation`")
        pairs.append((both[0], both[1]))
    return Pairs(pairs)
