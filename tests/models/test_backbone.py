"""The face of every family: what it promises, and that nothing else asks which family it is."""

import ast
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_objective import log_softmax, make_batch

import gptjax
from gptjax.errors import UserError
from gptjax.models import backbone, objective
from gptjax.models.config import ModelConfig
from gptjax.models.decode import generate
from gptjax.models.family import Family
from gptjax.models.flops import flops_per_token
from gptjax.models.lstm_config import LSTMConfig
from gptjax.models.task_head import TaskHeadConfig
from gptjax.models.transformer import TransformerConfig

SIZES = {"vocabulary_size": 40, "context_length": 8, "num_layers": 2, "width": 16}
BOTH = [
    TransformerConfig(**SIZES, num_heads=2, norm="pre"),
    LSTMConfig(**SIZES, units=10),
]


@dataclass(frozen=True)
class BagConfig(ModelConfig):
    """A third family: the mean of the tokens so far, an output bias, and no cache."""

    called: ClassVar[str] = "a bag"
    kind: Literal["bag"] = "bag"
    """The family."""

    @property
    def context(self) -> None:
        return None


class Bag(Family):
    config: BagConfig

    def setup(self):
        size, normal = self.config.vocabulary_size, nn.initializers.normal(1.0)
        self.token_embedding = self.param("token_embedding", normal, (size, self.config.width))
        self.output_bias = self.param("output_bias", normal, (size,))

    def embed(self, tokens):
        return self.token_embedding[tokens]

    def __call__(self, tokens, key=None):
        self.config.check_length(tokens.shape[1])
        count = jnp.arange(1, tokens.shape[1] + 1, dtype=jnp.float32)
        return self.embed(tokens).cumsum(1) / count[None, :, None]


BAG = BagConfig(**SIZES)


@pytest.fixture
def bag(monkeypatch):
    """Parameters of the third family, which is one more line of the registry."""
    monkeypatch.setattr(backbone, "FAMILIES", {**backbone.FAMILIES, "bag": Bag})
    return backbone.init_backbone(BAG, jax.random.key(0))


def asks_the_kind(node):
    """Whether an expression compares a model's kind, or anything, with the name of a family."""
    if isinstance(node, ast.MatchValue):
        parts = [node.value]
    elif isinstance(node, ast.Compare):
        parts = [node.left, *node.comparators]
        if any(ast.unparse(part).endswith(("model.kind", "config.kind")) for part in parts):
            return True
    else:
        return False
    leaves = [leaf for part in parts for leaf in ast.walk(part) if isinstance(leaf, ast.Constant)]
    return any(leaf.value in list(backbone.FAMILIES) for leaf in leaves)


def test_every_config_has_its_module():
    assert set(ModelConfig.kinds()) == {*backbone.FAMILIES, BAG.kind}
    for config in BOTH:
        assert backbone.make_backbone(config).config is config


def test_nothing_else_asks_for_the_family():
    for text in ('model.kind == "lstm"', 'kind in ("lstm", "x")', "a.model.kind != other"):
        assert any(map(asks_the_kind, ast.walk(ast.parse(text))))
    package = Path(gptjax.__file__).parent
    files = [*package.rglob("*.py"), *(package.parent / "experiments").rglob("*.py")]
    assert len(files) > 100
    for file in files:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            assert not asks_the_kind(node), f"{file}:{node.lineno}"


@pytest.mark.parametrize("config", BOTH, ids=["transformer", "lstm"])
def test_states_embed_and_output(config):
    params = backbone.init_backbone(config, jax.random.key(0))
    tokens = jnp.asarray([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], jnp.int32)
    states = backbone.states(config, params, tokens)
    cache, steps = backbone.empty_cache(config, 2, 8), []
    first = jnp.zeros(2, jnp.int32)
    for column in range(5):
        one = tokens[:, column : column + 1]
        seen, cache = backbone.extend(config, params, one, cache, jnp.int32(column), first)
        steps.append(seen)
    np.testing.assert_allclose(jnp.concatenate(steps, 1), states, atol=1e-5)
    rows = params["token_embedding"][tokens]
    places = params["position_embedding"][None, :5] if "position_embedding" in params else 0
    np.testing.assert_allclose(backbone.embed(config, params, tokens), rows + places, rtol=1e-6)
    table, bias = backbone.output(config, params)
    assert bias is None
    expected = np.asarray(states) @ np.asarray(table).T
    np.testing.assert_allclose(backbone.logits(config, params, states), expected, atol=1e-5)


@pytest.mark.parametrize(
    "config", [*BOTH, TransformerConfig(**SIZES, num_heads=2)], ids=["pre", "lstm", "post"]
)
@pytest.mark.parametrize("key", [None, jax.random.key(3)], ids=["evaluation", "dropout"])
def test_layer_states_begin_with_the_embeddings_and_end_with_the_states(config, key):
    params = backbone.init_backbone(config, jax.random.key(0))
    tokens = jnp.asarray([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]], jnp.int32)
    found = backbone.layer_states(config, params, tokens, key)
    assert found.shape == (3, 2, 5, 16)
    np.testing.assert_array_equal(found[-1], backbone.states(config, params, tokens, key))
    if key is None:
        np.testing.assert_array_equal(found[0], backbone.embed(config, params, tokens))
        # After the first block a model of one block ends, but for the last LayerNorm.
        one = replace(config, num_layers=1)
        shallow = {name: value for name, value in params.items() if name != "blocks_1"}
        if "final_norm" in params:
            first = (found[1] - found[1].mean(-1, keepdims=True)) / jnp.sqrt(
                found[1].var(-1, keepdims=True) + 1e-5
            )
        else:
            first = found[1]
        np.testing.assert_allclose(backbone.states(one, shallow, tokens), first, atol=1e-5)
    with pytest.raises(UserError, match="9 tokens"):
        backbone.layer_states(config, params, jnp.zeros((1, 9), jnp.int32))


@pytest.mark.parametrize("config", BOTH, ids=["transformer", "lstm"])
def test_depth_rises_from_the_embeddings_to_the_head(config):
    init = objective.task(config, TaskHeadConfig("classify", 3)).objective.init
    params = jax.eval_shape(init, jax.random.key(0))
    depths = {name: backbone.depth(config, name) for name in backbone.names_of(params)}
    for name, depth in depths.items():
        part, _, rest = name.partition("/")
        if part == "adapter":
            assert depth == 4
        else:
            wanted = {"blocks_0": 1, "blocks_1": 2, "final_norm": 3}.get(rest.partition("/")[0], 0)
            assert depth == wanted, name
            assert depth == backbone.depth(config, rest)
    assert set(depths.values()) - {3} == {0, 1, 2, 4}


def test_a_third_family_needs_a_class_and_a_line(bag):
    assert ModelConfig(kind="bag", width=3) == BagConfig(width=3)
    batch = make_batch()
    rows = batch.tokens.reshape(-1, 9)
    embedded = np.asarray(bag["token_embedding"], np.float64)[rows[:, :-1]]
    states = embedded.cumsum(1) / np.arange(1, 9)[:, None]
    logits = states @ np.asarray(bag["token_embedding"]).T + np.asarray(bag["output_bias"])
    weights = (batch.lm_weights * batch.weights[:, None, None]).reshape(-1, 9)[:, 1:]
    nll = -np.take_along_axis(log_softmax(logits), rows[:, 1:, None], -1)[..., 0]
    sums = jax.jit(objective.lm(BAG).loss)(bag, batch, None, ())[0]
    np.testing.assert_allclose(sums.loss, (weights * nll).sum(), rtol=1e-5)
    mine = backbone.logits(BAG, bag, backbone.states(BAG, bag, jnp.asarray(rows[:, :-1])))
    np.testing.assert_allclose(mine, logits, rtol=1e-4, atol=1e-4)


def test_special_rows_have_no_bias(bag):
    special = jnp.ones((3, 16))
    params = backbone.with_rows(BAG, bag, special)
    assert params["token_embedding"].shape == (43, 16)
    np.testing.assert_array_equal(params["token_embedding"][40:], special)
    np.testing.assert_array_equal(params["output_bias"][40:], np.zeros(3))
    np.testing.assert_array_equal(params["output_bias"][:40], bag["output_bias"])


def test_the_auxiliary_loss_has_the_bias_too(bag):
    functions = objective.task(BAG, TaskHeadConfig("classify", 3), lm_coefficient=0.5)
    params = {**functions.objective.init(jax.random.key(1)), "backbone": bag}
    batch = make_batch(sequences=1)._replace(targets=np.eye(3, dtype=np.float32))
    batch = batch._replace(lm_weights=np.ones_like(batch.lm_weights))
    found = jax.jit(functions.objective.loss)(params, batch, None, ())[0].metrics["lm_loss"]
    special = np.asarray(params["adapter"]["special_embedding"])
    table = np.concatenate([bag["token_embedding"], special]).astype(np.float64)
    rows = batch.tokens[:, 0]
    states = table[rows[:, :-1]].cumsum(1) / np.arange(1, 9)[:, None]
    scores = log_softmax(states @ table.T + np.concatenate([bag["output_bias"], np.zeros(3)]))
    nll = -np.take_along_axis(scores, rows[:, 1:, None], -1)[..., 0]
    np.testing.assert_allclose(found, (nll.mean(1) * batch.weights).sum(), rtol=1e-5)


def test_what_a_family_cannot_do_is_said(bag):
    with pytest.raises(UserError, match="a bag cannot write"):
        generate(BAG, bag, [[1]], jax.random.key(0), max_tokens=2, end=None)
    assert backbone.states(BAG, bag, jnp.zeros((1, 99), jnp.int32)).shape == (1, 99, 16)
    with pytest.raises(UserError, match="99 tokens"):
        BOTH[1].check_length(99)


@pytest.mark.parametrize(
    "config",
    [
        *BOTH,
        LSTMConfig(**SIZES),
        TransformerConfig(**SIZES, num_heads=2),
        TransformerConfig(**{**SIZES, "num_layers": 3}, num_heads=4, mlp_width=7),
    ],
)
def test_parameters_are_counted_without_making_them(config):
    assert config.num_parameters() == objective.num_parameters(objective.lm(config))


def test_a_model_that_no_computer_holds_is_refused():
    with pytest.raises(UserError, match=r"2.4e\+17 parameters"):
        TransformerConfig(**{**SIZES, "vocabulary_size": 10**7, "width": 10**8}, num_heads=2)


@pytest.mark.parametrize(
    "config", [*BOTH, TransformerConfig(**SIZES, num_heads=2)], ids=["gpt2", "lstm", "gpt1"]
)
def test_a_traced_function_reads_numpy_tables(config):
    """Indexed by traced tokens, numpy arrays would be an error of their own."""
    params = jax.device_get(backbone.init_backbone(config, jax.random.key(0)))
    tokens = jnp.arange(6, dtype=jnp.int32)[None]
    found = jax.jit(lambda tokens: backbone.embed(config, params, tokens))(tokens)
    np.testing.assert_array_equal(found, backbone.embed(config, params, tokens))


@pytest.mark.parametrize("config", BOTH, ids=["gpt2", "lstm"])
def test_flax_gives_the_key_of_dropout_too(config):
    module = backbone.make_backbone(config)
    tokens = jnp.zeros((2, 8), jnp.int32)
    params = module.init(jax.random.key(0), tokens)

    def states(key):
        rngs = None if key is None else {"dropout": key}
        return module.apply(params, tokens, rngs=rngs)

    plain, one, other = (states(key) for key in (None, jax.random.key(1), jax.random.key(2)))
    assert np.abs(one - plain).max() > 0.01
    assert np.abs(one - other).max() > 0.01
    np.testing.assert_array_equal(one, states(jax.random.key(1)))
    # A key that is given directly is the key.
    given = module.apply(params, tokens, jax.random.key(3))
    both = module.apply(params, tokens, jax.random.key(3), rngs={"dropout": jax.random.key(1)})
    np.testing.assert_array_equal(given, both)
    # Other streams drop nothing, and parameters do not depend on the stream.
    np.testing.assert_array_equal(
        plain, module.apply(params, tokens, rngs={"x": jax.random.key(1)})
    )
    again = module.init({"params": jax.random.key(0), "dropout": jax.random.key(5)}, tokens)
    for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_groups_of_a_fine_tuned_model_are_by_depth(norm):
    """A final LayerNorm belongs to the last block, the special rows to the embeddings."""
    config = TransformerConfig(
        vocabulary_size=30, context_length=8, num_layers=2, num_heads=2, width=8, norm=norm
    )
    functions = objective.task(config, TaskHeadConfig("classify", 3))
    params = jax.eval_shape(functions.objective.init, jax.random.key(0))
    found = backbone.groups(config, params)
    own = found["backbone"]
    assert (own["token_embedding"], own["position_embedding"]) == (0, 0)
    assert set(jax.tree.leaves(own["blocks_0"])) == {1}
    assert set(jax.tree.leaves(own["blocks_1"])) == {2}
    if norm == "pre":
        assert set(jax.tree.leaves(own["final_norm"])) == {2}
    assert found["adapter"] == {"special_embedding": 0, "head": {"kernel": 3, "bias": 3}}
    assert backbone.groups(config, params["backbone"]) == own


@pytest.mark.parametrize(
    ("kind", "settings", "expected"),
    [
        ("transformer", {"num_heads": 2}, 4),  # attention's two and the MLP's two
        ("lstm", {"units": 8}, 3),
        ("mlstm", {"units": 8, "num_layers": 1, "embedding_width": 4}, 4),
        ("bilm", {"units": 8, "projection": 4, "width": 8}, 6),  # three in each direction
    ],
)
def test_the_matrices_are_those_of_the_blocks(kind, settings, expected):
    """Neither tables nor an output of its own nor the head, which Muon is not for."""
    shape = {"vocabulary_size": 30, "context_length": 8, "num_layers": 2, "width": 8, **settings}
    config = ModelConfig(kind=kind, **shape)
    functions = objective.task(config, TaskHeadConfig("classify", 3))
    params = jax.eval_shape(functions.objective.init, jax.random.key(0))
    names = backbone.names_of(params)
    found = [
        name
        for name, yes in zip(names, jax.tree.leaves(backbone.matrices(config, params)), strict=True)
        if yes
    ]
    assert len(found) == expected * config.num_layers
    assert all(name.startswith("backbone/blocks_") for name in found)


def test_the_flops_of_gpt1_are_those_of_the_formula():
    config = ModelConfig()
    layers, width, vocabulary, context = 12, 768, 40478, 512
    weights = layers * (4 * width**2 + 2 * width * 4 * width)
    scores, table = 12 * layers * width * context, vocabulary * width
    assert flops_per_token(config) == 6 * (weights + table) + scores
    assert flops_per_token(config, attention=False) == 6 * (weights + table)
    assert flops_per_token(config, output=False) == 6 * weights + scores
    lstm = ModelConfig(kind="lstm", vocabulary_size=30, context_length=8, num_layers=1, width=8)
    cell = 4 * 8 * (8 + 8) + 8 * 8  # inputs, recurrent, projection
    assert flops_per_token(lstm) == 6 * (cell + 30 * 8)
