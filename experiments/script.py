"""How every script here begins and ends: options, and errors in one line."""

import sys
from collections.abc import Callable
from typing import Any

import tyro

from gptjax.errors import as_options, explain


def start(main: Callable[[Any], None], config: type[Any], doc: str | None) -> None:
    """Read the options, run the script, and leave with the exit code of `gptjax`.

    Args:
        main: what to run.
        config: the dataclass of its options.
        doc: the script's docstring, for its help.
    """
    options = tyro.cli(config, description=doc)
    try:
        main(options)
    except KeyboardInterrupt:
        sys.exit(75)
    except Exception as error:
        known = explain(error)
        if known is None:
            raise
        print(f"{sys.argv[0]}: {as_options(str(known))}", file=sys.stderr)
        sys.exit(known.exit_code)
