"""The one evaluation loop, for means over examples and for the answer to each of them."""

import collections
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from gptjax.batch import Batch, Batches, Objective, Sums
from gptjax.errors import UserError
from gptjax.training import parallel
from gptjax.training.feed import Feeder

PyTree = Any
IN_FLIGHT = 2  # batches that the devices have been given but not answered


class Evaluator:
    """The evaluation loop: means over all examples of some batches, each counted once.

    Calling it with parameters (replicated on the devices, or on the host) returns ``loss`` and
    the objective's metrics, each a sum over all batches divided once by the sum of weights;
    the sums are added up in float64. A metric with a weight of its own is divided by that, and left
    out where nothing has any. The compiled step is kept from call to call.
    """

    def __init__(self, objective: Objective, batches: Batches) -> None:
        parallel.check_batch_size(batches.batch_size, 1, "evaluation batch size")
        self._step = parallel.evaluation_step(
            lambda params, batch, carry: objective.loss(params, batch, None, carry)
        )
        self._init_carry = objective.init_carry
        self._batches = batches

    def __call__(self, params: PyTree) -> dict[str, float]:
        """The mean loss and metrics of ``params``.

        Raises:
            UserError: no example has any weight.
        """
        # By name a sum and its weight.
        totals: dict[str, np.ndarray] = collections.defaultdict(lambda: np.zeros(2, np.float64))
        carry = parallel.shard_all(self._init_carry(self._batches.batch_size))

        def step(params: PyTree, batch: Batch) -> Sums:
            nonlocal carry
            sums, carry = self._step(params, batch, carry)
            return sums

        for sums in _over(self._batches, step, params):
            for name, value in {"loss": sums.loss, **sums.metrics}.items():
                pair = value if isinstance(value, tuple) else (value, sums.weight)
                totals[name] += np.asarray(pair, np.float64)
        if totals["loss"][1] == 0:
            raise UserError("evaluation: the data have nothing to predict (all weights are 0)")
        return {name: float(total / weight) for name, (total, weight) in totals.items() if weight}


class Predictor:
    """What a model says to every example of some batches.

    Calling it with parameters returns an array of one row per row of the batches, in their order,
    those that only fill up the last batch included. The compiled step is kept from call to call.
    ``seconds`` is what the last call took, without compilation.
    """

    def __init__(self, predict: Callable[[PyTree, Batch], Any], batches: Batches) -> None:
        parallel.check_batch_size(batches.batch_size, 1, "evaluation batch size")
        self._step = parallel.prediction_step(predict)
        self._batches = batches
        self._compiled: set[tuple[int, ...]] = set()  # shapes of batches
        self._last: Any = None  # answer, which may not be there yet
        self.seconds = 0.0

    def __call__(self, params: PyTree) -> np.ndarray:
        """float32 [batches × B, …]."""
        params = parallel.place(params)
        begin, self.seconds = time.perf_counter(), 0.0
        answers = np.concatenate(list(self.each(params)))
        self.seconds += time.perf_counter() - begin
        return answers

    def each(self, params: PyTree) -> Iterator[np.ndarray]:
        """The answers batch by batch, for those that together do not fit into memory."""
        return _over(self._batches, self._timed, params)

    def _timed(self, params: PyTree, batch: Batch) -> Any:
        """The step. The first one of a shape returns when it is compiled, and before the devices
        are done."""
        if new := batch.tokens.shape not in self._compiled:
            jax.block_until_ready(self._last)  # what they still do meanwhile is no compilation
        begin = time.perf_counter()
        self._last = self._step(params, batch)
        if new:
            self.seconds -= time.perf_counter() - begin
            self._compiled.add(batch.tokens.shape)
        return self._last


def _over(batches: Batches, step: Callable[[PyTree, Batch], Any], params: PyTree) -> Iterator[Any]:
    """The evaluation loop: a step's answer to each batch of the first epoch, on the host."""
    params = parallel.place(params)
    queue: collections.deque[Any] = collections.deque()
    with Feeder(batches, 0, len(batches)) as feeder:
        for index in range(len(batches)):
            queue.append(step(params, feeder.take(index)))
            if len(queue) > IN_FLIGHT:
                yield jax.device_get(queue.popleft())
    while queue:
        yield jax.device_get(queue.popleft())
