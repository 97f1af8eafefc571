"""Files that grow while a run goes on: metrics.jsonl and the events of TensorBoard."""

import os
import struct
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any


class GrowingFile:
    """A file that may fail for a while, as on a full disk, and loses nothing by it.

    A record that cannot be written stays in memory and is tried again with the next one. Half a
    record never stays in the file. Nothing is opened before the first record.

    Args:
        path: the file; its folder must be there.
        prepare: called before the file is opened, again where it failed.
    """

    def __init__(self, path: Path, prepare: Callable[[], None] = lambda: None) -> None:
        self.path = path
        self._prepare = prepare
        self._descriptor: int | None = None
        self._size = 0  # bytes up to the end of the last whole record
        self._waiting = bytearray()

    def append(self, record: bytes) -> None:
        """Write a record, after those that wait; an OSError says that they all wait now."""
        self._waiting += record
        if self._descriptor is None:
            self._prepare()
            self._descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            self._size = os.fstat(self._descriptor).st_size
        try:
            written = 0
            while written < len(self._waiting):  # a full disk takes a part of it first
                written += os.write(self._descriptor, memoryview(self._waiting)[written:])
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += written
        self._waiting = bytearray()

    def close(self) -> int:
        """Try once more, close, and return how many bytes are lost. May be called twice."""
        if self._waiting:
            with suppress(OSError):
                self.append(b"")
        if self._descriptor is not None:
            with suppress(OSError):
                os.close(self._descriptor)
        lost = len(self._waiting)
        self._descriptor, self._waiting = None, bytearray()
        return lost


class EventFile(GrowingFile):
    """TensorBoard's scalars, written by the thread that calls.

    The writer of tensorboardX has a thread and a queue of ten: once the thread has died of a full
    disk, the eleventh number waits for ever.

    Args:
        folder: holds the event files; made when needed.
        step: events of later steps that an earlier part of the run left are hidden by the reader.
    """

    def __init__(self, folder: Path, step: int) -> None:
        from tensorboardX.proto import event_pb2  # which imports torch where there is one

        self._events = event_pb2
        # Two parts of a run may begin in the same second.
        name = f"events.out.tfevents.{time.time():.0f}.{os.uname().nodename}.{os.getpid()}.{step}"
        super().__init__(folder / name, lambda: folder.mkdir(exist_ok=True))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        for more in ({"file_version": "brain.Event:2"}, {"step": step + 1, "session_log": start}):
            self._waiting += self._record(**more)

    def add(self, scalars: Mapping[str, float], step: int) -> None:
        """Write the numbers of a step by their tags."""
        values = [{"tag": tag, "simple_value": number} for tag, number in scalars.items()]
        self.append(self._record(step=step, summary={"value": values}))

    def add_texts(self, tag: str, texts: Sequence[str], step: int) -> None:
        """Write texts, Markdown, as the text plug-in shows them."""
        size = {"dim": [{"size": len(texts)}]}
        strings = [text.encode("utf-8", errors="replace") for text in texts]
        value = {
            "tag": tag,
            "metadata": {"plugin_data": {"plugin_name": "text"}},
            "tensor": {"dtype": "DT_STRING", "tensor_shape": size, "string_val": strings},
        }
        self.append(self._record(step=step, summary={"value": [value]}))

    def _record(self, **content: Any) -> bytes:
        """An event as the format TFRecord frames it: length, its CRC, the event, its CRC."""
        from tensorboardX.record_writer import masked_crc32c

        event: bytes = self._events.Event(wall_time=time.time(), **content).SerializeToString()
        length = struct.pack("<Q", len(event))
        crcs = [struct.pack("<I", masked_crc32c(part)) for part in (length, event)]
        return length + crcs[0] + event + crcs[1]
