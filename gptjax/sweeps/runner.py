"""What is missing of a sweep is run, what is there stays, and people see how far it is."""

from collections.abc import Collection

from gptjax.errors import UserError
from gptjax.runs.sweep_results import SweepResults
from gptjax.sweeps import summary
from gptjax.sweeps.plan import Plan
from gptjax.sweeps.points import check_unchanged, interrupted, judge, locked, take_over, words
from gptjax.sweeps.processes import Launch, Start, run_all, start_process
from gptjax.sweeps.progress import End, Progress
from gptjax.sweeps.summary import read_finished


def run_plan(plan: Plan, jobs: int, start: Start = start_process) -> SweepResults:
    """Run what has not finished, and write results.json, summary.tsv and figures into sweep.out.

    So many jobs run at a time, each with its share of the cores. A run that fails does not stop the
    others; called again, the sweep runs it again.

    Raises:
        UserError: another sweep is at work in its folder, or it holds other runs than these; of a
            search also that Optuna is not there.
        Interrupted: by SIGTERM or Ctrl-C; the same call goes on.
    """
    if jobs < 1:
        raise UserError(f"`jobs={jobs}`: it must be at least 1")
    if plan.search is not None:
        from gptjax.sweeps.searcher import run_search  # needs the extra `search`

        return run_search(plan, jobs, start)
    return _run_grid(plan, jobs, start)


def _run_grid(plan: Plan, jobs: int, start: Start) -> SweepResults:
    out, points = plan.sweep.out, plan.points
    out.mkdir(parents=True, exist_ok=True)
    with locked(out) as lock:
        for point in points:
            check_unchanged(point, plan.command.config)
        missing = {n: p for n, p in enumerate(points) if read_finished(p) is None}
        for point in points:
            take_over(point)
        progress = Progress(plan, jobs, len(missing), len(points))
        progress.begin(len(points) - len(missing))

        def ended(number: int, code: int, seconds: float, others: Collection[float]) -> None:
            status, error = judge(points[number], code)
            progress.ended(number, End(status, code, error), seconds, others)

        launches = [(n, Launch(words(plan, p), p.beside(".log"), lock)) for n, p in missing.items()]
        done = run_all(launches, jobs, start, on_start=progress.started, on_end=ended)
        results = progress.write()
        if not done:
            raise interrupted(plan, results)
        summary.save_figures(plan, results)
    return results
