"""`gptjax lm-eval`: EleutherAI's lm-evaluation-harness, with its own options."""

from gptjax.evaluation.harness import command_line


def run(config: list[str]) -> None:
    """See `gptjax.evaluation.harness.command_line`; ``config`` are the words as they were typed."""
    command_line(config)
