"""The command line: one subcommand per file of commands/."""

import importlib
import io
import keyword
import os
import sys
import typing
from collections.abc import Sequence
from contextlib import suppress

from gptjax import __version__
from gptjax.allocator import keep_memory
from gptjax.errors import Interrupted, as_options, explain
from gptjax.training.interrupt import end_at_once

# The first line of help, so that `gptjax --help` need not import every command (and jax).
COMMANDS = {
    "tokenizer": "train a tokenizer from text",
    "pretrain": "train a language model on text",
    "finetune": "train a pre-trained model on a task",
    "sweep": "a grid of runs or a search, with a table and plots",
    "predict": "label new rows with a fine-tuned model",
    "evaluate": "perplexity of a text, or a task's metrics",
    "zeroshot": "a task's metrics without training on it",
    "probe": "what a model's features say of a task; its single units",
    "lm-eval": "EleutherAI's evaluation harness, with its own options",
    "compare": "the difference between two fine-tuned runs, with its interval",
    "report": "one HTML page of runs: curves, tables, figures",
    "tasks": "the tasks that are known by name",
    "knowledge": "what WordNet says of the words of a task",
    "glue-submission": "an archive of predictions for the GLUE server",
    "generate": "continue a prompt with a trained model",
    "serve": "answer over HTTP, as OpenAI's clients ask, too",
    "play": "look into one or two models, in the browser",
    "import": "make a run of OpenAI's or the hub's weights",
    "export": "give a model to the hub's tools, or in OpenAI's format",
    "completion": "let the shell complete commands and options",
    "doctor": "versions, devices, memory, disk and a 3-step run",
}

USAGE = """gptjax {version}: GPT-1 in JAX

usage: gptjax COMMAND [OPTIONS]      gptjax COMMAND --help

{commands}

exit codes: 0 done, 1 a bug, 2 bad input or usage, 3 no usable checkpoint,
            4 stopped on a non-finite loss, 75 interrupted and resumable"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (see ``USAGE``)."""
    if arguments is None:  # this process is the command
        end_at_once()
        keep_memory()
    if isinstance(sys.stdout, io.TextIOWrapper):  # as standard error does; an é is \\xe9 in ASCII
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            code = _run(list(sys.argv[1:] if arguments is None else arguments))
        except SystemExit:  # after the help of a command
            print(end="", flush=True)
            raise
        print(end="", flush=True)
    except OSError as error:  # of standard output
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # the reader has left, as `head` does
            return 0
        if (known := explain(error)) is None:
            raise
        return _fail(f"standard output: {known}", known.exit_code)
    return code


def _run(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help", "help"):
        commands = "\n".join(f"  {name:16} {what}" for name, what in COMMANDS.items())
        print(USAGE.format(version=__version__, commands=commands))
        return 0
    if words[0] == "--version":
        print(__version__)
        return 0
    # Not sooner: while this is imported, a signal already ends the process well.
    from gptjax.config import cache_folder, nearest
    from gptjax.options import parse

    name, options = words[0], words[1:]
    if name not in COMMANDS:
        return _fail(f"unknown command {name!r}; {nearest(name, list(COMMANDS))}", 2)
    # Compiled programs are kept from run to run, unless the user's own setting says otherwise.
    # jax reads this when it is imported, with the command.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache_folder() / "compiled"))
    try:
        # A module cannot have the name of a word of Python, such as import.
        module = name.replace("-", "_") + "_" * keyword.iskeyword(name)
        command = importlib.import_module(f"gptjax.commands.{module}")
        kind = typing.get_type_hints(command.run)["config"]
        if kind == list[str]:  # another program's command line
            command.run(options)
            return 0
        defaults = getattr(command, "defaults", None)
        short = importlib.import_module("gptjax.commands.short_help").HELP.get(name)
        command.run(parse(kind, options, prog=f"gptjax {name}", defaults=defaults, short=short))
    except Interrupted as error:
        code = _fail(str(error), error.exit_code)
        advice = importlib.import_module("gptjax.commands.advice")
        print(f"  {advice.resuming(words)}", file=sys.stderr, flush=True)
        return code
    except KeyboardInterrupt:
        return _fail("interrupted; what was saved is intact", Interrupted.exit_code)
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        return _fail(str(known), known.exit_code)
    return 0


def _fail(message: str, code: int) -> int:
    with suppress(OSError):  # the terminal may be gone
        print(f"gptjax: {as_options(message)}", file=sys.stderr, flush=True)
    return code
