"""Muon: the momentum of a matrix with its singular values made nearly equal."""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, Float
from optax import contrib

PyTree = Any


def with_muon(
    adam: optax.GradientTransformation, matrices: Callable[[PyTree], PyTree]
) -> optax.GradientTransformation:
    """Muon's direction of the matrices of the blocks, and Adam's of the rest.

    Muon (Jordan et al. 2024) takes the momentum (0.95, Nesterov's) and makes its singular values
    nearly equal. A direction [N, F] is then scaled by 0.2 sqrt(max(N, F)), so that its root mean
    square is about that of Adam's: one learning rate and one decay are good for both (Liu et al.
    2025, equation 4).
    """

    def labels(params: PyTree) -> PyTree:
        return jax.tree.map(lambda yes: "muon" if yes else "adam", matrices(params))

    def dimensions(updates: PyTree) -> PyTree:
        return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(), updates)

    def orthogonal(updates: PyTree, _: PyTree) -> PyTree:
        return jax.tree.map(lambda x: 0.2 * max(x.shape) ** 0.5 * orthogonalized(x), updates)

    # optax takes the momentum, and no step of the iteration: it would map its products over an axis
    # of one matrix, for which XLA's CPU compiler takes three times as long. Checkpoints know the
    # chain by its two members.
    muon = optax.chain(
        contrib.scale_by_muon(ns_steps=0, weight_dimension_numbers=dimensions),
        optax.stateless(orthogonal),
    )
    return optax.partition({"muon": muon, "adam": adam}, labels)


def orthogonalized(matrix: Float[Array, "N F"]) -> Float[Array, "N F"]:
    """A matrix of Frobenius norm 1 at most, its singular values made nearly equal.

    Five Newton-Schulz iterations of Muon: X <- a X + b (X Xᵀ) X + c (X Xᵀ)² X (Jordan et al. 2024).
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    for _ in range(5):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if tall else x
