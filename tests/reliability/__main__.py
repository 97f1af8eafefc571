"""Kills, damage, full disks, processes that differ and mutated inputs, for hours or for a count.

    python -m tests.reliability --out FOLDER                a full run, a few hours on two cores
    python -m tests.reliability --out FOLDER --hours 1      as much of it as an hour holds
    python -m tests.reliability --out FOLDER --kills 3 --inputs 100     only these
    python -m tests.reliability --out FOLDER --only inputs:17           that trial again

Every trial draws its random numbers from the seed and its own number. FOLDER/trials.jsonl has a
line for each trial. The same command in the same folder goes on where it stopped. Trials that went
wrong keep their files in FOLDER/wrong.
"""

import argparse
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.reliability import commands, damage, disks, inputs, kills, processes, quick
from tests.reliability.trials import Found, Line, Log, numbers, summary

# Trials of a full run, and how many seconds one takes on two cores of a small machine.
SECTIONS = {
    "kills": (200, 22.0),
    "corruptions": (500, 1.5),
    "disks": (40, 40.0),
    "processes": (12, 30.0),
    "inputs": (10_000, 1.15),
    "quick": (0, 0.5),  # for `make test`: of the last and of the corruptions those that cost least
}
MODULES = {
    "kills": kills,
    "corruptions": damage,
    "disks": disks,
    "processes": processes,
    "inputs": inputs,
    "quick": quick,
}


def options(words: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m tests.reliability", description=__doc__, formatter_class=form
    )
    parser.add_argument("--out", type=Path, default=Path("reliability"), help="folder of the run")
    parser.add_argument("--seed", type=int, help="repeats a run; a new one is drawn and printed")
    parser.add_argument("--hours", type=float, help="stop after so long")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", metavar="SECTION:NUMBER", help="one trial, its files kept")
    for section, (count, _) in SECTIONS.items():
        parser.add_argument(f"--{section}", type=int, metavar="N", help=f"of {count:,} trials")
    return parser.parse_args(words)


def seed_of(out: Path, given: int | None) -> int:
    """The seed of the folder, which was drawn or given when it was begun."""
    file = out / "seed.json"
    if file.exists():
        kept = int(json.loads(file.read_text()))
        if given not in (None, kept):
            sys.exit(f"{out}: was begun with SEED={kept}; choose another folder for {given}")
        return kept
    seed = secrets.randbelow(1_000_000) if given is None else given
    out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(seed))
    return seed


def counts_of(given: argparse.Namespace) -> dict[str, int]:
    """How many trials of each section; without any count all of a full run."""
    counts = {section: getattr(given, section) for section in SECTIONS}
    if all(count is None for count in counts.values()):
        return {section: count for section, (count, _) in SECTIONS.items()}
    return {section: count or 0 for section, count in counts.items()}


def one(out: Path, seed: int, section: str, number: int) -> Found:
    """A single trial, whose files are kept if it goes wrong."""
    began = time.monotonic()
    work = out / "work" / f"{section}-{number}"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    found = MODULES[section].trial(number, numbers(seed, section, number), work, out)
    if found.outcome != "good":
        kept = out / "wrong" / work.name
        shutil.rmtree(kept, ignore_errors=True)
        kept.parent.mkdir(exist_ok=True)
        shutil.copytree(work, kept, symlinks=True, ignore=_special)
    shutil.rmtree(work, ignore_errors=True)
    seconds = round(time.monotonic() - began, 2)
    Log(out).add(Line(section, number, found.outcome, found.what, found.detail, seconds))
    return found


def _special(folder: str, names: list[str]) -> list[str]:
    """Pipes and the like, which cannot be copied."""
    paths = [Path(folder, name) for name in names]
    return [path.name for path in paths if not (path.is_file() or path.is_dir())]


def in_workers(jobs: int, work: Callable[[int], None]) -> None:
    """Call a function with the number of each of several processes, and wait for all of them."""
    children = []
    for number in range(jobs):
        if (child := os.fork()) == 0:
            try:
                work(number)
            except KeyboardInterrupt:
                os._exit(75)
            except BaseException:
                sys.excepthook(*sys.exc_info())
                os._exit(1)
            os._exit(0)
        children.append(child)
    codes = []
    try:
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    except KeyboardInterrupt:
        sys.exit("stopped; the same command goes on")
    if any(codes):
        sys.exit("a process of the harness itself failed; see above")


def plan(out: Path, counts: dict[str, int]) -> list[tuple[str, int]]:
    """What is left to try, sections mixed in proportion, so that a budget has some of each."""
    done = {(line.section, line.number) for line in Log(out).lines()}
    places = [
        ((number + 0.5) / count, section, number)
        for section, count in counts.items()
        for number in range(count)
        if (section, number) not in done
    ]
    return [(section, number) for _, section, number in sorted(places)]


def main(words: list[str] | None = None) -> int:
    """Try everything that is asked for, and print the table; 1 if anything went wrong."""
    given = options(words)
    out = given.out.resolve()
    seed, counts = seed_of(out, given.seed), counts_of(given)
    print(f"SEED={seed} in {given.out}", flush=True)
    os.environ |= commands.environment(out)
    commands.import_commands()
    if given.only:
        section, _, number = given.only.partition(":")
        counts = {section: 1}
    # What the trials need is made once: small runs, from which their own durations are known.
    for section in counts:
        if counts[section]:
            MODULES[section].prepare(out)
    if given.only:
        found = one(out, seed, section, int(number))
        print(f"{found.outcome}: {found.what}: {found.detail}")
        return int(found.outcome != "good")
    left = plan(out, counts)
    expected = sum(SECTIONS[section][1] for section, _ in left) / given.jobs / 3600
    budget = "" if given.hours is None else f", of which {given.hours:g} hours are tried"
    print(f"{len(left):,} trials, about {expected:.1f} hours{budget}", flush=True)
    deadline = None if given.hours is None else time.monotonic() + 3600 * given.hours

    def work(worker: int) -> None:
        for section, number in left[worker :: given.jobs]:
            if deadline is not None and time.monotonic() > deadline:
                return
            found = one(out, seed, section, number)
            if found.outcome != "good":
                again = f"--seed {seed} --only {section}:{number}"
                print(f"{found.outcome}: {again}: {found.what}: {found.detail}", flush=True)

    in_workers(min(given.jobs, max(len(left), 1)), work)
    lines = [line for line in Log(out).lines() if counts.get(line.section)]
    print(summary(lines))
    return int(any(line.outcome != "good" for line in lines))


if __name__ == "__main__":
    sys.exit(main())
