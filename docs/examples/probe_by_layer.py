# %% [markdown]
# # What does each layer know? A probe
#
# A probe is a logistic regression on the states of a layer. Here it tells who does something to
# whom, which no bag of words knows. For published tasks, with cross-validation and controls, there
# is `gptjax probe`.

# %%
import itertools

import numpy as np
from sklearn.linear_model import LogisticRegression

import gptjax

run = gptjax.load("runs/pretrain/tiny")  # of `make pretrain`

# %% [markdown]
# ## Sentences
#
# Each pair of nouns stands in both orders. The label is whether the first one is a container.

# %%
CONTAINERS = ["list", "string", "file", "name", "type", "set"]
OTHERS = ["function", "module", "class", "method", "object", "value"]
VERBS = ["returns", "raises", "uses", "takes"]

texts, labels = [], []
for container, other, verb in itertools.product(CONTAINERS, OTHERS, VERBS):
    texts += [f"The {container} {verb} the {other}", f"The {other} {verb} the {container}"]
    labels += [1, 0]
labels = np.array(labels)
order = np.random.default_rng(0).permutation(len(texts))
train, test = order[:200], order[200:]

# %% [markdown]
# ## Layer by layer
#
# Layer 0 is the embeddings. Their mean is the same for both orders, so that it can only guess.

# %%
accuracy = []
for layer in range(run.model.num_layers + 1):
    features = run.features(texts, "mean", layer)
    probe = LogisticRegression(C=100, max_iter=5000).fit(features[train], labels[train])
    accuracy.append(probe.score(features[test], labels[test]))
    print(f"layer {layer}: {accuracy[-1]:.3f}")

# %%
assert accuracy[0] < 0.65
assert max(accuracy[1:]) > 0.9
