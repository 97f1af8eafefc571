"""Small models of random numbers, and JSON files."""

import json

import numpy as np

from gptjax.models import convert


def random_params(config, seed=0):
    rng = np.random.default_rng(seed)
    params = {}
    for path, shape in convert.shapes(config).items():
        place = params
        for key in path[:-1]:
            place = place.setdefault(key, {})
        value = 0.3 * rng.standard_normal(shape)
        place[path[-1]] = (value + (path[-1] == "scale")).astype(np.float32)
    return params


def read_json(file):
    return json.loads(file.read_text(encoding="utf-8"))


def write_json(file, content):
    file.write_text(json.dumps(content), encoding="utf-8")
