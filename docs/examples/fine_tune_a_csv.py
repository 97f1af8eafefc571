# %% [markdown]
# # Fine-tune on a CSV of your own
#
# A table with a text and a label becomes a classifier in a few lines. Here the table is made up, so
# that the example runs anywhere: customers write about a delivery.

# %%
import csv
import itertools
import random

import gptjax

# Any pre-trained run will do; this one takes three minutes to make (gptjax pretrain --config tiny).
run = gptjax.load("runs/pretrain/tiny")  # of `make pretrain`

# %% [markdown]
# ## The table

# %%
GOOD = ["fast", "friendly", "perfect", "great", "careful"]
BAD = ["late", "broken", "rude", "wrong", "dirty"]
THINGS = ["parcel", "driver", "box", "order", "delivery"]

rows = [
    (f"The {thing} was {word}, and the {other} was {word} too.", label)
    for label, words in (("happy", GOOD), ("unhappy", BAD))
    for word, thing, other in itertools.product(words, THINGS, THINGS)
]
random.Random(0).shuffle(rows)
with open("customers.csv", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(["message", "mood"])
    writer.writerows(rows)

# %% [markdown]
# ## The task
#
# Only the columns need a name. Labels, delimiter and header are read from the file. A tenth of the
# rows is held back to choose the checkpoint.

# %%
tuned = gptjax.finetune(
    run,
    {
        "format": "classification",
        "labels": ["happy", "unhappy"],
        "columns": {"text": "message", "label": "mood"},
    },
    "customers.csv",
    out="runs/examples/customers",
    overwrite=True,
    lr=3e-4,
    **{"train.epochs": 15, "train.batch_size": 16},
)

# %% [markdown]
# ## New texts

# %%
for text in ("The driver was friendly.", "My box came late and broken."):
    print(text, tuned.predict(text))

# %%
metrics = gptjax.evaluate(tuned, "customers.csv")
print(metrics)
assert metrics["accuracy"] > 0.9
