"""A grid of runs or a search, each run a process with a folder, with a table and plots.

plan.py       from the file of a sweep to the runs that it means
settings.py   settings by name, and the config file that a run of them is started with
space.py      what a search draws, until when, and what is given up
points.py     one point: whether it may go on, its process's words, how that ended
processes.py  several processes at a time; none is left behind
progress.py   what people see of each run, and what is noted of it
runner.py     what is missing of a grid is run
searcher.py   points of a search are drawn, run and told
study.py      what a search has tried and what comes next, by Optuna, which no other file knows
curves.py     what the first seeds were worth while they trained, and who is given up
summary.py    what the runs came to: one table, as results.json, summary.tsv, text and figures
"""
