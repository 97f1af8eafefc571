"""The bidirectional language model: beside the states that ELMo's authors and their code recorded."""

import dataclasses
import os
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gptjax.interchange import elmo
from gptjax.models import backbone

SHARED = os.environ.get("GPTJAX_SHARED")
ANCESTORS = Path(SHARED or ".") / "reference/ancestors"
needs_shared = pytest.mark.skipif(SHARED is None, reason="the recorded numbers are not here")


@pytest.fixture(params=[False, True], ids=["plain", "residual"])
def recorded(request):
    """What the authors' code made of four sentences: config, parameters, and the numbers."""
    folder = ANCESTORS / "bilm_fixture"
    config = elmo.read_config(folder)
    name = "bilm_residual" if request.param else "bilm_no_residual"
    config = dataclasses.replace(config, residual=request.param)
    return config, elmo.read_params(folder, config), np.load(ANCESTORS / f"{name}.npz")


def as_words(char_ids):
    """The recorded characters as words of a vocabulary: tokens, without the ends, and their
    spelling."""
    rows, length, _ = char_ids.shape
    spelled = np.maximum(char_ids - 1, 0).reshape(rows * length, -1)
    tokens = np.arange(rows * length).reshape(rows, length)[:, :-1]
    return jnp.asarray(tokens, jnp.int32), spelled


@needs_shared
def test_states_are_those_of_the_authors_code(recorded):
    config, params, numbers = recorded
    tokens, spelled = as_words(numbers["char_ids"])
    there = np.arange(tokens.shape[1]) <= numbers["lengths"][:, None]
    config = dataclasses.replace(config, vocabulary_size=len(spelled))
    params = backbone.with_spelling(config, params, spelled)
    module = backbone.make_backbone(config)
    carry = module.start(len(tokens))
    run = jax.jit(partial(module.apply, method="continued"))
    for name in ("embeddings", "embeddings_second_call"):
        found, carry = run({"params": params}, tokens, carry, None, jnp.asarray(there))
        for row, length in enumerate(numbers["lengths"]):
            own = found[:, row, 1 : 1 + length]
            expected = numbers[name][row, :, :length]
            np.testing.assert_allclose(own, expected, rtol=0, atol=1e-5)
    vectors = jax.jit(partial(backbone.embed, config))(params, tokens)
    for row, length in enumerate(numbers["lengths"]):
        expected = numbers["token_embeddings"][row, : 1 + length]
        np.testing.assert_allclose(vectors[row, : 1 + length], expected, rtol=0, atol=1e-5)
