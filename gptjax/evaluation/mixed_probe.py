"""A probe of a mix of all depths: the weights of the mix are fitted with those of the probe.

The mix is Σ softmax(w)ₗ xₗ of the features of the depths, as ELMo's task models learn it (Peters et
al. 2018, equation 1). Their factor γ is left out: it can be no other than 1 beside the free weights
of the probe. Minimised is C Σ (cross-entropy) + ½ ‖W‖², as of any L2 probe, jointly over w and W,
from w = 0 (the mean of the depths) and W = 0. There may be more than one minimum, and what is found
from there is the same each time.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax


class Mixed(NamedTuple):
    """What was fitted. K is 1 of two classes, whose weights are those of the second one."""

    mix: Float[np.ndarray, " D"]  # softmax(w), by depth
    weights: Float[np.ndarray, "K E"]
    intercept: Float[np.ndarray, " K"]
    converged: bool


def fit_mixed(
    features: Float[np.ndarray, "N D E"], gold: Int[np.ndarray, " N"], c: float, iterations: int
) -> Mixed:
    """The mix and the probe of it.

    Args:
        features: of each depth; centred features have the same solution, found sooner.
        gold: the number of each row's class, 0 to K - 1, each at least once.
        c: the inverse strength of the penalty.
        iterations: of L-BFGS, at most.
    """
    depths, width = features.shape[1:]
    classes = int(gold.max()) + 1
    free = 1 if classes == 2 else classes
    target = np.eye(classes)[gold]

    def parts(theta: Float[np.ndarray, " P"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rest = theta[depths:]
        weights = rest[: free * width].reshape(free, width)
        return softmax(theta[:depths]), weights, rest[free * width :]

    def loss(theta: Float[np.ndarray, " P"]) -> tuple[float, np.ndarray]:
        mix, weights, intercept = parts(theta)
        mixed = np.tensordot(features, mix, axes=(1, 0))
        logits = mixed @ weights.T + intercept
        if free == 1:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        said = log_softmax(logits, axis=1)
        off = (c * (np.exp(said) - target))[:, classes - free :]
        by_mix = np.tensordot(features, off @ weights, axes=([0, 2], [0, 1]))
        by_logit = mix * (by_mix - mix @ by_mix)  # through the softmax
        slope = [by_logit, (off.T @ mixed + weights).ravel(), off.sum(0)]
        value = -c * (said * target).sum() + 0.5 * (weights**2).sum()
        return float(value), np.concatenate(slope)

    start = np.zeros(depths + free * width + free)
    ends = {"maxiter": iterations, "maxfun": 2 * iterations, "gtol": 1e-5, "ftol": 1e-14}
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options=ends)
    mix, weights, intercept = parts(found.x)
    return Mixed(mix, weights, intercept, found.status == 0)
