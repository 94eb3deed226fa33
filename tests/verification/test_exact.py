import mutants
from bundled import TAU4

from lipbench.attacks.network import Network
from lipbench.verification import verify as verification
from lipbench.verification.options import VerifyOptions


def test_rounding_alone_refutes_no_exact_claim(tmp_path, monkeypatch):
    """Samples next to the boundary, where float32 changes class inside nominal radii: no violation of those."""
    net = mutants.bundled(TAU4)
    network = Network(net, (1, 8, 8), dtype="float32")
    x = mutants.at_the_boundary(network, mutants.inputs())
    arguments = (net, mutants.card(classes=10), x, network.predict(x).argmax(dim=1), tmp_path)
    found = verification.examine(*arguments, options=VerifyOptions(dtype="float32"))
    assert [verdict.violations for verdict in found.verdicts] == [0, 0, 0]
    monkeypatch.setattr(verification, "EXACT_GRADES", ())
    found = verification.examine(*arguments, options=VerifyOptions(dtype="float32"))
    by_grade = {verdict.grade: verdict.violations for verdict in found.verdicts}
    assert by_grade["float"] == by_grade["real"] == 0
    assert by_grade["nominal"] > 0
