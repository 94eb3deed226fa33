"""Arguments of architectures that are wrong."""

import pytest
from chains import SHAPE

from lipbench.errors import LipbenchError
from lipbench.models.architectures import UNCONSTRAINED, build


@pytest.mark.parametrize(
    ("name", "args", "named"),
    [
        ("mpl", {}, "did you mean 'mlp'"),
        ("mlp", {"width": [8]}, "width"),
        ("mlp", {"widths": [7]}, "even"),
        ("mlp", {"widths": "wide"}, "widths|build"),
        ("mlp", {"batch_norm": "yes"}, "true or false, got 'yes'"),
        ("mlp", {"pool": "average"}, "no argument 'pool'"),
        ("cnn", {"pool": "max"}, "pool 'max'.*average, l2norm"),
        ("cnn", {"padding": "reflect"}, "padding 'reflect'.*circular, zeros"),
        ("cnn", {"channels": [4, 4, 4, 4]}, "too many"),
        ("vgg", {"blocks": [[2]] * 5}, "too many pools of 2x2 for inputs of 8x8"),
        ("vgg", {"blocks": [[4, 3]]}, "even"),
        ("vgg", {"blocks": [4, 4]}, "cannot be built"),
        ("resnet", {"channels": [3]}, "even"),
        ("resnet", {"blocks": "two"}, "cannot be built"),
    ],
)
def test_wrong_arguments(name, args, named):
    with pytest.raises(LipbenchError, match=named) as caught:
        build(name, UNCONSTRAINED, SHAPE, 10, args)
    assert "\n" not in str(caught.value)
