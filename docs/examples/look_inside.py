# %% [markdown]
# # Look inside: surprise, the logit lens, attention
#
# What does a language model expect, at which depth does it know it, and where does it look?

# %%
import numpy as np

import gptjax

run = gptjax.load("runs/pretrain/tiny")  # of `make pretrain`
text = "The function returns a list of strings, or None if the file does not exist."
tokens = run.tokens(text)  # the separator first: position t tells of token t + 1

# %% [markdown]
# ## Surprise
#
# The surprise at a token is -log2 of its probability, in bits.

# %%
logits = run.logits(text)  # [positions, vocabulary]
shifted = logits - logits.max(-1, keepdims=True)
log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
ids = run.tokenizer.encode([text])[0]
surprise = -log_probabilities[np.arange(len(ids)), ids] / np.log(2)
for token, bits in zip(tokens[1:], surprise, strict=True):
    print(f"{token!r:>14} {bits:5.1f} bits  {'█' * round(bits)}")

# The sum is the log-probability of the text.
assert abs(surprise.sum() * np.log(2) + run.log_probability(text)) < 1e-2

# %% [markdown]
# ## The logit lens
#
# The states of every depth are read with the output table (nostalgebraist 2020). From which depth
# on does the likeliest token stay the same?

# %%
states = run.states(text)  # [depths, positions, width]
table = np.asarray(run.params["token_embedding"])
likeliest = (states @ table.T).argmax(-1)  # [depths, positions]
for depth, row in enumerate(likeliest):
    print(depth, [run.tokenizer.decode([one]) for one in row[:8]])
agreement = (likeliest == likeliest[-1]).mean(-1)
print("positions with the answer of the last depth:", agreement.round(2))
assert agreement[-1] == 1
assert (likeliest[-1] == logits.argmax(-1)).all()

# %% [markdown]
# ## Attention
#
# A head that looks at the token before has its weights beside the diagonal.

# %%
attention = run.attention(text)  # [blocks, heads, positions, positions]
before = np.diagonal(attention, offset=-1, axis1=-2, axis2=-1).mean(-1)  # [blocks, heads]
block, head = np.unravel_index(before.argmax(), before.shape)
print(f"the head that looks back one token most: block {block + 1}, head {head + 1}")
assert np.allclose(attention.sum(-1), 1, atol=1e-4)
