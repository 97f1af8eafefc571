# %% [markdown]
# # Evaluation under pmap, on many devices
#
# The methods of a run use all devices by themselves. An evaluation of one's own does, too, with
# `jax.pmap`: each device has its rows, and sums are added over the devices.

# %%
import os

# Four virtual devices, so that the example shows something on a CPU; leave it out elsewhere.
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=4")

import jax
import jax.numpy as jnp
import numpy as np

import gptjax

run = gptjax.load("runs/pretrain/tiny")  # of `make pretrain`
print(jax.device_count(), "devices")

# %%
texts = [f"The value of parameter {n} is a string, or a list of strings." for n in range(30)]
ids = [np.array([run.tokenizer.separator, *one]) for one in run.tokenizer.encode(texts)]
devices = jax.device_count()
rows = -(-len(ids) // devices) * devices  # padded to a multiple of the devices
tokens = np.zeros((rows, max(map(len, ids))), np.int32)
weights = np.zeros(tokens.shape, np.float32)  # 1 for every token that is predicted
for row, one in enumerate(ids):
    tokens[row, : len(one)] = one
    weights[row, 1 : len(one)] = 1


# %%
def sums(params, tokens, weights):
    states = run.module.apply({"params": params}, tokens[:, :-1])
    logits = states @ params["token_embedding"].T
    found = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(found, tokens[:, 1:, None], axis=-1)[..., 0]
    total = (chosen * weights[:, 1:]).sum(), weights.sum()
    return jax.lax.psum(total, "devices")


def split(x):
    return x.reshape(devices, -1, *x.shape[1:])


evaluate = jax.pmap(sums, "devices", in_axes=(None, 0, 0), out_axes=None)
total, count = evaluate(run.params, split(tokens), split(weights))
perplexity = float(jnp.exp(-total / count))
print(f"perplexity {perplexity:.2f} of {count:.0f} tokens")

# %%
alone = np.exp(-run.log_probability(texts).sum() / sum(len(one) - 1 for one in ids))
np.testing.assert_allclose(perplexity, alone, rtol=1e-4)
