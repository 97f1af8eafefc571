"""What the real package has written into a run folder without a network."""

import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as wandb_records

BLOCK, HEADER = 32768, 7  # bytes
PATIENCE = 20  # seconds
LAST_PARTS = (1, 4)  # a whole record, or its last part


def read(run: Path) -> list[dict[str, Any]]:
    """Each time that the run was started there: its id, name, group, config and history."""
    files = sorted(
        run.glob("wandb/offline-run-*/run-*.wandb"), key=lambda file: file.stat().st_mtime
    )
    return [_read(file) for file in files]


def _read(file: Path) -> dict[str, Any]:
    # wandb's own process writes the end of a run a moment after `finish` has returned.
    deadline = time.monotonic() + PATIENCE
    while "exit_code" not in (found := _read_now(file)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _read_now(file: Path) -> dict[str, Any]:
    found: dict[str, Any] = {"history": []}
    for data in _records(file.read_bytes()):
        record = wandb_records.Record.FromString(data)
        if record.HasField("run"):
            started = record.run
            config = {item.key: json.loads(item.value_json) for item in started.config.update}
            found["config"] = {key: value for key, value in config.items() if key != "_wandb"}
            found |= {"id": started.run_id, "project": started.project}
            found |= {"name": started.display_name, "group": started.run_group}
        elif record.HasField("history"):
            items = {
                item.key or "/".join(item.nested_key): json.loads(item.value_json)
                for item in record.history.item
            }
            found["history"].append({k: v for k, v in items.items() if k[0] != "_" or k == "_step"})
        elif record.HasField("exit"):
            found["exit_code"] = record.exit.exit_code
    return found


def _records(data: bytes) -> Iterator[bytes]:
    """The records of a log in LevelDB's format; wandb's own seven bytes come before the first."""
    place, parts = HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        place += HEADER
        parts += data[place : place + length]
        place += length
        if kind in LAST_PARTS:
            yield parts
            parts = b""
