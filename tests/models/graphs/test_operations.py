"""The table of operations that a graph may hold, against the rules: it holds what has a rule, or is about sizes."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from lipbench.certification.lipschitz import batch, selections, table
from lipbench.models.graphs import layers, operations

pytest.importorskip("orthogonium")

# what has a rule, and no graph holds, and why
SPLITS = "gives as many tensors as a number says, however large it is: write chunk or split"
STORED_AS_PLAIN = "its copy with plain weights is a layer of torch, or PadConv where the padding is symmetric"
STORED_AS_OTHER = "stored as the layer that it is the faster form of"
STATE = "its constructor does not determine its state, or its kernel is computed from others"
LEFT_OUT = {
    torch.tensor_split: SPLITS,
    "tensor_split": SPLITS,
    **dict.fromkeys(
        [
            "deel.torchlip.modules.conv.FrobeniusConv2d", "deel.torchlip.modules.conv.SpectralConv1d",
            "deel.torchlip.modules.conv.SpectralConv2d", "deel.torchlip.modules.conv.SpectralConvTranspose2d",
            "deel.torchlip.modules.linear.FrobeniusLinear", "deel.torchlip.modules.linear.SpectralLinear",
        ],
        STORED_AS_PLAIN,
    ),
    **dict.fromkeys(["lipbench.models.fast_layers.L2Pool", "lipbench.models.fast_layers.SortPairs"], STORED_AS_OTHER),
    **dict.fromkeys(
        [
            "deel.torchlip.modules.normalization.BatchCentering", "deel.torchlip.modules.normalization.BatchLipNorm",
            "orthogonium.layers.conv.SLL.sll_layer.SDPBasedLipschitzDense",
            "orthogonium.layers.conv.SLL.sll_layer.SDPBasedLipschitzResBlock",
            "orthogonium.layers.normalization.BatchCentering2D",
        ],
        STATE,
    ),
}  # fmt: skip
OF_WEIGHTS = {torch.exp, torch.sqrt, torch.rsqrt, F.softplus, "exp", "sqrt", "rsqrt"}
OF_NUMBERS = {operations.FUNCTIONS["operator.floordiv"]}
OURS = ("torch", "deel", "orthogonium", "lipbench", "_operator", "operator")


def has_a_rule(target) -> bool:
    if table.find(target) is not None or target in selections.SELECTIONS:
        return True
    return isinstance(target, type) and ({target, table.dotted(target)} & selections.SELECTING_LAYERS != set())


def about_sizes(target) -> bool:
    return batch.about_shape(SimpleNamespace(op="call_method", target=target))


@pytest.mark.parametrize("name", sorted(operations.FUNCTIONS))
def test_a_function_has_a_rule_or_is_of_weights_or_numbers(name):
    function = operations.FUNCTIONS[name]
    assert has_a_rule(function) != (function in OF_WEIGHTS | OF_NUMBERS)
    assert operations.function_name(function) in operations.FUNCTIONS


@pytest.mark.parametrize("name", sorted(operations.METHODS))
def test_a_method_has_a_rule_or_is_of_sizes_or_weights(name):
    assert has_a_rule(name) + about_sizes(name) + (name in OF_WEIGHTS) == 1
    assert not name.startswith("_")


@pytest.mark.parametrize("name", sorted(operations.ATTRIBUTES))
def test_an_attribute_has_a_rule_or_is_of_sizes(name):
    assert (name in selections.SELECTING_ATTRIBUTES) != about_sizes(name)


@pytest.mark.parametrize("name", sorted(layers.LAYERS))
def test_a_layer_has_a_rule(name):
    kind = layers.LAYERS[name].load()
    assert has_a_rule(kind if isinstance(kind, type) else type(kind(1)))


def test_everything_that_has_a_rule_is_there_or_left_out_for_a_reason():
    held = {*operations.FUNCTIONS.values(), *operations.METHODS}
    kinds = [kind.load() for kind in layers.LAYERS.values()]
    held_types = {table.dotted(kind if isinstance(kind, type) else type(kind(1))) for kind in kinds}
    targets = {*table.RULES, *selections.SELECTIONS, *selections.SELECTING_LAYERS}
    missing = set()
    for target in targets:
        if isinstance(target, type) or (isinstance(target, str) and "." in target):
            name = table.dotted(target) if isinstance(target, type) else target
            if name.partition(".")[0] in OURS and name not in held_types:
                missing.add(name)
        elif target not in held and (isinstance(target, str) or (target.__module__ or "torch").split(".")[0] in OURS):
            missing.add(target)
    assert missing == set(LEFT_OUT)
