import torch
from bundled import TAU4
from verifying import verify

from lipbench.verification import witness as witnesses


def test_rounding_breaks_nominal_in_float32_and_never_float(zoo_of, digits, tmp_path):
    """Next to the boundary; and each break is reproduced from its file. Grade real knows the errors of the sample."""
    folder = zoo_of(TAU4) / TAU4
    result = verify(folder, digits, tmp_path, samples=50, dtype="float32")
    by_grade = {verdict.grade: verdict for verdict in result.rounding}
    assert by_grade["nominal"].broken > 20
    assert by_grade["real"].broken == 0
    assert by_grade["real"].certified > 10
    assert by_grade["float"].broken == 0
    assert by_grade["float"].certified > 10
    assert result.holds  # it speaks of exact arithmetic
    replay = witnesses.replay(by_grade["nominal"].witness, device=torch.device("cpu"))
    assert replay.reproduced == replay.rows == by_grade["nominal"].broken
