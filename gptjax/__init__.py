"""GPT-1 in JAX, whole: pre-train, fine-tune, evaluate, explain.

run = gptjax.load("runs/pretrain/tiny")
states = gptjax.Transformer(run.model).apply({"params": run.params}, tokens)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from gptjax.evaluation.model import Model as Model
    from gptjax.evaluation.model import load as load
    from gptjax.models.config import ModelConfig as ModelConfig
    from gptjax.models.transformer import Transformer as Transformer
    from gptjax.runs.open import Run as Run

_HOMES = {
    "load": "gptjax.evaluation.model",
    "Model": "gptjax.evaluation.model",
    "Run": "gptjax.runs.open",
    "ModelConfig": "gptjax.models.config",
    "Transformer": "gptjax.models.transformer",
}
__all__ = ["Model", "ModelConfig", "Run", "Transformer", "__version__", "load"]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are asked for: `gptjax --help` needs no jax."""
    if name == "__version__":
        return _version()
    if name not in _HOMES:
        raise AttributeError(f"module 'gptjax' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)


def _version() -> str:
    """The installed version; a folder that is only on the path has none."""
    from importlib import metadata

    try:
        return metadata.version("gptjax")
    except metadata.PackageNotFoundError:
        return "0+not.installed"
