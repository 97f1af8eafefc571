"""GPT-1 in JAX, whole: pre-train, fine-tune, evaluate, explain.

```python
run = gptjax.pretrain("tiny")  # or gptjax.load("runs/pretrain/tiny")
tuned = gptjax.finetune(run, "sst2", "path/to/sst2")
states = gptjax.Transformer(run.model).apply({"params": run.params}, tokens)
```
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from gptjax.calls import evaluate as evaluate
    from gptjax.calls import finetune as finetune
    from gptjax.calls import pretrain as pretrain
    from gptjax.calls import sweep as sweep
    from gptjax.evaluation.model import Model as Model
    from gptjax.evaluation.model import load as load
    from gptjax.models.config import ModelConfig as ModelConfig
    from gptjax.models.transformer import Transformer as Transformer
    from gptjax.runs.open import Run as Run

_HOMES = {
    "evaluate": "gptjax.calls",
    "finetune": "gptjax.calls",
    "pretrain": "gptjax.calls",
    "sweep": "gptjax.calls",
    "load": "gptjax.evaluation.model",
    "Model": "gptjax.evaluation.model",
    "Run": "gptjax.runs.open",
    "ModelConfig": "gptjax.models.config",
    "Transformer": "gptjax.models.transformer",
}
__all__ = [
    "Model",
    "ModelConfig",
    "Run",
    "Transformer",
    "__version__",
    "evaluate",
    "finetune",
    "load",
    "pretrain",
    "sweep",
]


def __getattr__(name: str) -> Any:
    """The public names, imported when they are asked for: `gptjax --help` needs no jax."""
    from importlib import import_module, metadata

    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name != "__version__":
        raise AttributeError(f"module 'gptjax' has no attribute {name!r}")
    try:
        return metadata.version("gptjax")
    except metadata.PackageNotFoundError:  # of a folder that is only on the path
        return "0+not.installed"


def __dir__() -> list[str]:
    return sorted(__all__)
