"""GPT-1 in JAX, whole: pre-train, fine-tune, evaluate, explain."""

__version__ = "0.1.0"
