"""A graph shows its steps their inputs while it runs."""

import torch
from measured import Forward, scaling

from lipbench.certification.lipschitz import trace


def test_steps_are_shown_their_inputs_before_they_are_overwritten():
    """Errors are bounded from the inputs of a step: its result in their place would be too small."""
    network = Forward(lambda m, x: m.five(x).mul_(0.001))
    network.five = scaling(5.0)
    graph = trace(network, (4,))
    seen = {}
    x = torch.rand(2, 4)
    value = graph.run(x, lambda place, inputs, value: seen.update({graph.steps[place].name: inputs[0].clone()}))
    assert torch.equal(seen["Linear"], x)
    assert torch.allclose(seen["mul_"], 5 * x)
    assert torch.allclose(value, 0.005 * x)
