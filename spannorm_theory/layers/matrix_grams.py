"""What the gradient of a weight matrix is made of, on token Grams (T4.3)."""

from __future__ import annotations

from dataclasses import dataclass

from ..gaussian.closed_forms import Array


@dataclass(frozen=True)
class MatrixGrams:
    """Token Grams on both sides of a weight matrix, whose gradient is X^T Delta.

    Attributes:
        size: inputs times outputs for which ``grad`` is per coordinate.
        read: Gram of its input X per coordinate.
        grad: Gram of the gradient Delta at its output per coordinate.
        product: covariances of both multiplied, entry by entry, with what finite width adds.
    """

    size: float
    read: Array
    grad: Array
    product: Array

    def __add__(self, other: MatrixGrams) -> MatrixGrams:
        """The matrix whose gradient comes on two independent ways."""
        return MatrixGrams(self.size, self.read, self.grad + other.grad, self.product + other.product)

    def scaled(self, factor: float) -> MatrixGrams:
        """The matrix with a gradient of ``factor`` times the second moment."""
        return MatrixGrams(self.size, self.read, factor * self.grad, factor * self.product)

    def squared(self, pairs: Array | float) -> float:
        """E |dLoss/dW|_F^2, for the weight ``pairs`` of each entry of a Gram."""
        return self.size * float((pairs * self.product).sum())


Reads = dict[str, MatrixGrams]
