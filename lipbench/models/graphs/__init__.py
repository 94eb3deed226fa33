"""Networks stored as ``graph.json``: a list of operations out of a fixed table, and no code."""

from lipbench.models.graphs.form import (
    DTYPES,
    MOST_BYTES,
    GraphFile,
    LayerSpec,
    Reference,
    StepSpec,
    TensorSpec,
    plain_argument,
)
from lipbench.models.graphs.layers import layer_spec
from lipbench.models.graphs.loading import read_network
from lipbench.models.graphs.network import GraphNetwork, tensor_name
from lipbench.models.graphs.operations import ATTRIBUTES, METHODS, function_name

__all__ = [
    "ATTRIBUTES", "DTYPES", "METHODS", "MOST_BYTES", "GraphFile", "GraphNetwork", "LayerSpec", "Reference",
    "StepSpec", "TensorSpec", "function_name", "layer_spec", "plain_argument", "read_network", "tensor_name",
]  # fmt: skip
