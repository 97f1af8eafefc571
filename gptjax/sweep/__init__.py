"""A grid of runs, each a process and a run folder of its own, with a table and a plot.

sweep_file.py the file of a sweep
plan.py       the runs that it means
options.py    settings by name, and the words of a command line for them
processes.py  several processes at a time; none is left behind
outcome.py    what a run came to, by seed
summary.py    results.json, summary.tsv and figures of all of them
runner.py     what is missing is run; progress and the time that is left
command.py    `gptjax sweep`
"""

from gptjax.sweep.outcome import Point as Point
from gptjax.sweep.runner import run_sweep as run_sweep
from gptjax.sweep.sweep_file import Sweep as Sweep
from gptjax.sweep.sweep_file import read_sweep as read_sweep

__all__ = ["Point", "Sweep", "read_sweep", "run_sweep"]
