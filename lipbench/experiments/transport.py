"""What no classifier can surpass on given samples: linear programmes over the distances between them."""

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment, linprog
from scipy.spatial.distance import cdist

from lipbench._internal.arrays import Floats, Ints


def wasserstein(a: Floats, b: Floats) -> float:
    """The exact Wasserstein-1 distance, in L2, between equally many samples a and b, (n, ...) each."""
    distances = cdist(a.reshape(len(a), -1).astype(np.float64), b.reshape(len(b), -1).astype(np.float64))
    return float(distances[linear_sum_assignment(distances)].mean())


def largest_mean_radius(others: Ints, distances: Floats) -> float:
    """No classifier without training error has a larger mean radius on the training set.

    The largest mean of r >= 0 with r_a + r_b <= |x_a - x_b| for the given pairs of samples of two classes: others
    (n, k) of each sample, at ``distances`` (n, k). More pairs could only lower it.
    """
    n, k = others.shape
    rows = np.arange(n * k)
    pairs = np.concatenate([np.repeat(np.arange(n), k), others.ravel()])
    matrix = sparse.csr_matrix((np.ones(2 * n * k), (np.concatenate([rows, rows]), pairs)), shape=(n * k, n))
    solved = linprog(-np.ones(n), A_ub=matrix, b_ub=distances.ravel(), method="highs")  # type: ignore[call-overload]  # stubs: dense only
    return float(-solved.fun / n)
