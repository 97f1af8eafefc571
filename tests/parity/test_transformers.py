"""GPT-1 and GPT-2 beside transformers and PyTorch: numbers, training, generation, files.

`make parity` runs this; it needs the extra of that name. The reference models have random weights
(of the sizes that were published, or tiny), so that nothing is fetched.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from safetensors import numpy as safetensors

from gptjax.batch import Batch
from gptjax.errors import UserError
from gptjax.interchange import hub as hub_files
from gptjax.models import convert, objective
from gptjax.models.decode import generate
from gptjax.models.objective import lm
from gptjax.models.task_head import TaskHeadConfig
from gptjax.models.transformer import Transformer
from gptjax.training.length import TrainConfig
from gptjax.training.loop import fit
from gptjax.training.optimizer import OptimizerConfig, make_optimizer

SIZES = {
    "tiny": {"n_layer": 2, "n_embd": 48, "n_head": 4, "vocab_size": 211, "n_positions": 40},
    "full": {},
}
KINDS = {
    "gpt1": (
        transformers.OpenAIGPTConfig,
        transformers.OpenAIGPTLMHeadModel,
        transformers.OpenAIGPTDoubleHeadsModel,
    ),
    "gpt2": (
        transformers.GPT2Config,
        transformers.GPT2LMHeadModel,
        transformers.GPT2DoubleHeadsModel,
    ),
}
OFF = {"embd_pdrop": 0.0, "attn_pdrop": 0.0, "resid_pdrop": 0.0, "summary_first_dropout": 0.0}


def perturbed(model):
    """Every number random: fresh biases and gains are 0 and 1, and would hide a mistake."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    return model.eval()


class Pair:
    """The same model there and here."""

    def __init__(self, kind, size, folder):
        config_class, model_class, _ = KINDS[kind]
        torch.manual_seed(0)
        self.theirs = perturbed(model_class(config_class(**SIZES[size], **OFF)))
        self.theirs.save_pretrained(folder)
        self.folder = folder
        self.config = hub_files.read_config(folder)
        self.params = hub_files.read_params(folder, self.config)
        rng = np.random.default_rng(0)
        self.length = 24
        self.tokens = rng.integers(0, self.config.vocabulary_size, (4, self.length), dtype=np.int32)

    def batch(self):
        shape = (*self.tokens.shape[:1], 1, self.length)
        return Batch(
            self.tokens[:, None],
            np.ones(shape, np.float32),
            np.zeros(shape[:2], np.int32),
            np.ones((len(self.tokens), 1), np.float32),
            np.ones(len(self.tokens), np.float32),
        )

    def loss(self):
        tokens = torch.tensor(self.tokens, dtype=torch.long)
        return self.theirs(tokens, labels=tokens).loss

    def by_hub_name(self, tree):
        return {
            name.removeprefix(convert.PREFIX): x
            for name, x in convert.to_hub(tree, self.config).items()
        }


@pytest.fixture(scope="module", params=[(k, s) for s in SIZES for k in KINDS], ids="-".join)
def pair(request, tmp_path_factory):
    return Pair(*request.param, tmp_path_factory.mktemp("published"))


def test_logits(pair):
    with torch.no_grad():
        theirs = pair.theirs(torch.tensor(pair.tokens, dtype=torch.long)).logits.numpy()
    states = jax.jit(Transformer(pair.config).apply)({"params": pair.params}, pair.tokens)
    ours = np.asarray(states) @ pair.params["token_embedding"].T
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_loss_and_the_gradient_of_every_parameter(pair):
    loss = pair.loss()
    pair.theirs.zero_grad()
    loss.backward()

    def mean(params):
        sums = lm(pair.config).loss(params, pair.batch(), None, ())[0]
        return sums.loss / sums.weight

    ours, gradient = jax.jit(jax.value_and_grad(mean))(pair.params)
    np.testing.assert_allclose(float(ours), loss.item(), rtol=0, atol=1e-4)
    named = pair.by_hub_name(jax.device_get(gradient))
    theirs = {
        name.removeprefix(convert.PREFIX): parameter.grad.numpy()
        for name, parameter in pair.theirs.named_parameters()
        if name != convert.TIED
    }
    assert named.keys() == theirs.keys()
    for name, expected in theirs.items():
        np.testing.assert_allclose(named[name], expected, rtol=1e-3, atol=1e-5, err_msg=name)


class Repeated:
    """The same batch again and again."""

    def __init__(self, batch):
        self.batch_size = len(batch.tokens)
        self._batch = batch

    def __len__(self):
        return 1

    def batch(self, epoch, index, rows=slice(None)):
        return jax.tree.map(lambda x: x[rows], self._batch)

    def describe(self, epoch, index):
        return "the batch"


def test_five_updates_of_adamw(pair):
    """The loss before each update and after the last; clipping at 1 and decay on matrices only."""
    theirs = type(pair.theirs)(pair.theirs.config)
    theirs.load_state_dict(pair.theirs.state_dict())
    groups = [[p for p in theirs.parameters() if p.dim() > 1]]
    groups += [[p for p in theirs.parameters() if p.dim() == 1]]
    rate, decay, steps = 1e-3, 0.1, 5
    adamw = torch.optim.AdamW(
        [{"params": g, "weight_decay": w} for g, w in zip(groups, (decay, 0.0), strict=True)],
        lr=rate,
        eps=1e-8,
    )
    tokens = torch.tensor(pair.tokens, dtype=torch.long)
    expected = []
    for _ in range(steps):
        loss = theirs(tokens, labels=tokens).loss
        expected.append(loss.item())
        adamw.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
        adamw.step()
    with torch.no_grad():
        expected.append(theirs(tokens, labels=tokens).loss.item())
    config = OptimizerConfig(
        learning_rate=rate, warmup=0.0, schedule="constant", weight_decay=decay, clip_norm=1.0
    )
    measured = []
    batches = Repeated(pair.batch())

    def evaluate(params):
        sums = loss_of(params, pair.batch())
        measured.append(float(sums.loss / sums.weight))
        return {"loss": measured[-1]}

    loss_of = jax.jit(lambda params, batch: lm(pair.config).loss(params, batch, None, ())[0])
    evaluate(pair.params)
    fit(
        lm(pair.config),
        batches,
        TrainConfig(steps=steps, batch_size=len(pair.tokens)),
        make_optimizer(config, steps),
        params=pair.params,
        evaluate=lambda params: evaluate(jax.device_get(params)),
    )
    assert len(measured) == steps + 1
    assert expected[0] - expected[-1] > 0.1
    # Where a gradient is nearly 0, Adam makes its rounding an update of full size: seen as 3e-6 in
    # the tiny losses and as 1e-4 in those of 117 M parameters.
    tolerance = 1e-4 if pair.config.width < 100 else 1e-3
    np.testing.assert_allclose(measured, expected, rtol=0, atol=tolerance)


def test_double_heads(pair):
    """Multiple choice: our head of that kind, and theirs."""
    kind = "gpt1" if pair.config.norm == "post" else "gpt2"
    config = KINDS[kind][0](**{**pair.theirs.config.to_dict(), "num_labels": 1})
    model = KINDS[kind][2](config)
    model.transformer.load_state_dict(pair.theirs.transformer.state_dict())
    model.eval()
    choices = pair.tokens.reshape(2, 2, pair.length)
    last = np.array([[23, 17], [9, 20]], np.int32)
    with torch.no_grad():
        theirs = model(
            torch.tensor(choices, dtype=torch.long),
            mc_token_ids=torch.tensor(last, dtype=torch.long),
        ).mc_logits.numpy()
    summary = model.multiple_choice_head.summary
    head = {
        "kernel": summary.weight.detach().numpy().T,
        "bias": summary.bias.detach().numpy(),
    }
    # All tokens are the backbone's here: the adapter's own rows are not asked for.
    special = np.zeros((3, pair.config.width), np.float32)
    functions = objective.task(pair.config, TaskHeadConfig("choose", 2))
    batch = Batch(
        choices, np.ones(choices.shape, np.float32), last, np.eye(2, dtype=np.float32), np.ones(2)
    )
    params = {"backbone": pair.params, "adapter": {"special_embedding": special, "head": head}}
    ours = jax.jit(functions.log_probabilities)(params, jax.tree.map(jnp.asarray, batch))
    expected = torch.log_softmax(torch.tensor(theirs), -1).numpy()
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)


def test_greedy_generation_token_for_token(pair):
    """Ours from its cache; theirs with and without one (their GPT-1 has none)."""
    count = 10
    prompts = pair.tokens[:2, :8]
    ours = generate(
        pair.config, pair.params, prompts.tolist(), jax.random.key(0),
        max_tokens=count, end=None, temperature=0.0,
    )  # fmt: skip
    for cached in (True, False):
        options = {} if pair.config.norm == "post" else {"use_cache": cached}
        with torch.no_grad():
            theirs = pair.theirs.generate(
                torch.tensor(prompts, dtype=torch.long),
                attention_mask=torch.ones(prompts.shape, dtype=torch.long),
                max_new_tokens=count,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
                **options,
            )
        assert [samples[0] for samples in ours] == theirs[:, 8:].tolist()


def test_the_older_pytorch_file(pair, tmp_path):
    (tmp_path / "config.json").write_bytes((pair.folder / "config.json").read_bytes())
    torch.save(pair.theirs.state_dict(), tmp_path / "pytorch_model.bin")
    params = hub_files.read_params(tmp_path, hub_files.read_config(tmp_path))
    jax.tree.map(np.testing.assert_array_equal, params, pair.params)
    content = (tmp_path / "pytorch_model.bin").read_bytes()
    (tmp_path / "pytorch_model.bin").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"pytorch_model\.bin: cannot be read"):
        hub_files.read_params(tmp_path, pair.config)


def test_hub_to_ours_to_hub_is_bit_identical(pair):
    published = safetensors.load_file(pair.folder / "model.safetensors")
    back = convert.to_hub(pair.params, pair.config)
    kept = {name: x for name, x in published.items() if name != convert.TIED}
    assert kept.keys() == back.keys()
    for name, expected in kept.items():
        assert back[name].dtype == expected.dtype
        assert back[name].tobytes() == expected.tobytes(), name
