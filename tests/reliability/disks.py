"""The disk is full at a random moment; with room again the run goes on to the same bytes.

Where file systems may be mounted, the run folder and the cache lie in a small one in memory.
Elsewhere no file may grow beyond a random size.
"""

import os
import random
import resource
import shutil
import subprocess
import time
from pathlib import Path

from tests.reliability import kills
from tests.reliability.commands import Ended, fault
from tests.reliability.trials import Found

SMALLEST, LARGEST = 40, 3000  # kilobytes of the disk
LARGEST_FILE = 200_000  # bytes, where nothing can be mounted


def prepare(folder: Path) -> None:
    """The runs that nobody disturbs."""
    kills.prepare(folder)


def _mounted(place: Path, kilobytes: int) -> bool:
    place.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "tmpfs", str(place)]
    try:
        return subprocess.run(words, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def trial(number: int, draw: random.Random, work: Path, folder: Path) -> Found:
    """A run on a small disk, then the same run with room."""
    scenario = draw.choice(("pretrain", "finetune", "seeds", "sweep"))
    kills.copy(folder, work)
    # Small ones fill at the start, large ones at the end.
    kilobytes = int(SMALLEST * (LARGEST / SMALLEST) ** draw.random())
    place = work / "run"
    mounted = _mounted(place, kilobytes)
    try:
        if mounted:
            what = f"{scenario} on a disk of {kilobytes} kB"
            ended = kills.finish(scenario, work)
        else:
            place.rmdir()
            most = draw.randrange(100, LARGEST_FILE)
            what = f"{scenario}, no file larger than {most:,} bytes"
            ended = _limited(scenario, work, most)
        if found := fault(ended, what):
            return found
        if mounted:
            words = ["mount", "-o", "remount,size=1g", str(place)]
            subprocess.run(words, capture_output=True, check=True)
        return kills.judged(f"{what} (exit code {ended.code})", scenario, work, folder)
    finally:
        if mounted:
            _unmount(place)


def _unmount(place: Path) -> None:
    """Keep what is in it: a trial that went wrong is looked at."""
    kept = place.with_name("run-kept")
    shutil.copytree(place, kept, symlinks=True)
    for _ in range(50):
        if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode == 0:
            break
        time.sleep(0.1)
    place.rmdir()
    kept.rename(place)


def _limited(scenario: str, work: Path, most: int) -> Ended:
    """In a child whose files have a limit, which its own children inherit."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    # The soft limit alone, so that this process can take it back.
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        return kills.finish(scenario, work)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        os.sync()
