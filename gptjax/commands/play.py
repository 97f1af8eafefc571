"""`gptjax play`: look into one or two models, in the browser."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from gptjax.config import repeated
from gptjax.data.tokenizers.tokenizer import ModeConfig
from gptjax.errors import UserError, check_settings
from gptjax.evaluation.unit_values import Unit, unit_to_show
from gptjax.play.shelf import Shelf
from gptjax.runs.folder import RunFolder
from gptjax.runs.results import ProbeResults, read_as
from gptjax.runs.train import say
from gptjax.training.interrupt import wait

TEXT = "It was the first time that"


@dataclass(frozen=True, kw_only=True)
class PlayConfig:
    """Look into one or two models, in the browser: next tokens, surprise, layers, attention."""

    run: Annotated[tuple[str, ...], repeated]
    """Run folder, openai:FOLDER or hf:ID_OR_FOLDER. Give the option twice for two models side by
    side."""
    checkpoint: Annotated[tuple[str, ...], repeated] = ()
    """best, last, a step, or both as in curve/128; absent, the best where one was kept, else the
    last. Give the option once for each --run, or twice with one run."""
    text: str = TEXT
    """The text to begin with."""
    probe: str | None = None
    """Folder that `gptjax probe --units` wrote: its strongest unit colours the text."""
    port: int = 7860
    """Of the address, on this machine alone; 0: one that is free."""
    heads: int | None = None
    """Attention heads of openai:FOLDER, whose files do not tell; None: heads of 64."""
    vocabulary: ModeConfig = field(default_factory=ModeConfig)

    def __post_init__(self) -> None:
        check_settings(self, "", "port", lambda n: 0 <= n < 2**16, "from 0 to 65,535")


def run(config: PlayConfig) -> None:
    """Serve the app until a signal comes."""
    # First of all, since it may be missing.
    from gptjax.play.app import build, serve
    from gptjax.play.studio import Studio

    shelf = Shelf(
        config.run, config.checkpoint, num_heads=config.heads, mode=config.vocabulary.mode
    )
    app = build(Studio(shelf, _unit(config, shelf)), config.text)
    address = serve(app, config.port)
    say(f"  look at it:  {address}  (Ctrl-C ends it)")
    wait()
    app.close(verbose=False)


def _unit(config: PlayConfig, shelf: Shelf) -> Unit | None:
    """The strongest unit of the probe."""
    if config.probe is None:
        return None
    results = RunFolder(Path(config.probe)).results
    if not results.exists():
        raise UserError(f"`probe={config.probe}`: there is no {results.name} of a probe")
    known = read_as(ProbeResults, results)
    if known.units is None:
        raise UserError(f"`probe={config.probe}`: this probe names no units; run it with `units`")
    return unit_to_show(shelf.open(shelf.shown[0]).model, known, None, (), None)
