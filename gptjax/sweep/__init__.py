"""A grid of runs, each a process and a run folder of its own, with a table and a plot.

plan.py       from the file of a sweep to the runs that it means
settings.py   settings by name, and the config file that a run of them is started with
processes.py  several processes at a time; none is left behind
runner.py     what is missing is run; progress and the time that is left
summary.py    what the runs came to: one table, as results.json, summary.tsv, text and figures
"""
