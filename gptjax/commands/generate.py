"""`gptjax generate`: continue a prompt with a trained model."""

from dataclasses import dataclass

from gptjax.evaluation.sampling import continuations
from gptjax.runs.open import Reading


@dataclass(frozen=True)
class GenerateConfig(Reading):
    """Continue a prompt with a trained model."""

    prompt: str = ""
    """Text to continue; empty begins a new document."""
    max_tokens: int = 100
    """The most tokens to add."""
    temperature: float = 1.0
    """Divides the logits: below 1 safer, above 1 wilder; 0 always takes the likeliest token."""
    top_k: int = 0
    """Draw from the k likeliest tokens only; 0 for all."""
    top_p: float = 1.0
    """Draw from the fewest tokens whose probabilities add up to p (nucleus sampling)."""
    num_samples: int = 1
    """Independent samples."""
    seed: int = 0
    """Of the draws: the same seed and options give the same text."""


def run(config: GenerateConfig) -> list[str]:
    """Print the samples, the prompt included."""
    samples = continuations(
        config.open(substitute=True),
        [config.prompt],
        max_tokens=config.max_tokens,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
        num_samples=config.num_samples,
        seed=config.seed,
    )[0]
    for number, sample in enumerate(samples, 1):
        if len(samples) > 1:
            print(f"--- sample {number} of {len(samples)}")
        print(sample)
    return samples
