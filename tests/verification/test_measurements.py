import torch

from lipbench.verification import measurements


def test_distances_are_bounds():
    from fractions import Fraction

    torch.manual_seed(0)
    x, z = torch.rand(20, 1, 8, 8), torch.rand(20, 1, 8, 8)
    z[:10] = x[:10] + 1e-7 * torch.randn(10, 1, 8, 8)
    lower, upper = measurements.distances(x, z)
    for row in range(20):
        pairs = zip(x[row].flatten().tolist(), z[row].flatten().tolist(), strict=True)
        exact = sum((Fraction(a) - Fraction(b)) ** 2 for a, b in pairs)
        assert Fraction(float(lower[row])) ** 2 <= exact <= Fraction(float(upper[row])) ** 2
