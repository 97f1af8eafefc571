"""A trained model behind HTTP: what `gptjax serve` does."""
