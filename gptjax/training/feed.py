"""Batches on their way to the devices, one step ahead of them."""

from concurrent.futures import Future, ThreadPoolExecutor

from gptjax.batch import Batch, Batches
from gptjax.training import parallel


class Feeder:
    """Loads the batch of the next step, and moves it to the devices, while a step runs."""

    def __init__(self, batches: Batches, start: int, stop: int) -> None:
        self._batches = batches
        self._stop = stop
        self._rows = parallel.share(batches.batch_size)
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
        self._next: Future[Batch] | None = None
        self._submit(start)

    def __enter__(self) -> "Feeder":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def take(self, step: int) -> Batch:
        """The batch after ``step`` updates, spread over the devices. Steps come in order."""
        assert self._next is not None
        batch = self._next.result()
        self._submit(step + 1)
        return batch

    def _submit(self, step: int) -> None:
        self._next = self._pool.submit(self._load, step) if step < self._stop else None

    def _load(self, step: int) -> Batch:
        epoch, index = divmod(step, len(self._batches))
        return parallel.shard(self._batches.batch(epoch, index, self._rows))
