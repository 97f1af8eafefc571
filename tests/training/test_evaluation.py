"""The evaluation loop: what it counts."""

import time

import jax
import numpy as np

from gptjax.training.evaluation import Predictor
from tests.training.toy import ToyBatches, objective

COMPILED = "/jax/core/compile/backend_compile_duration"


def test_the_seconds_of_answers_are_without_compilation():
    toy, compiled = objective(), []

    def predict(params, batch):
        for _ in range(30):  # takes longer to compile than to do
            params = jax.tree.map(jax.numpy.sin, params)
        return params["embedding"][batch.tokens[:, 0]].sum((-1, -2))

    def listen(event, duration, **_):
        if event == COMPILED:
            compiled.append(duration)

    params = toy.init(jax.random.key(0))
    predictor = Predictor(predict, ToyBatches(shuffle=False))
    walls = []
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        for _ in range(2):
            begin = time.perf_counter()
            answers = predictor(params)
            walls.append((time.perf_counter() - begin, predictor.seconds))
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert answers.shape == (40,)
    assert np.isfinite(answers).all()
    (wall, seconds), (again, later) = walls
    assert 0 < seconds <= wall - sum(compiled)
    assert 0 < later <= again
    assert later > 0.2 * again  # nothing is compiled any more
