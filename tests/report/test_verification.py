"""The section "Do the certificates hold?": only where there are records, and only of the run's own models."""

from dataclasses import replace

import pytest
from verified import HELD, TESTED, broken, held, verdict

from lipbench import report
from lipbench.errors import LipbenchError
from lipbench.report import Results, verification
from lipbench.verification import records


@pytest.fixture
def verified(make_run, make_model):
    """A run of two models, and a function that writes records of them; returns the section."""
    models = [make_model([True] * 3, [0.1] * 3, [0.3] * 3, name=name) for name in ("m", "b")]
    folder = make_run(models)
    digests = {model.name: model.digest for model in folder.read().models}

    def write(*results):
        for result in results:
            records.write(folder.path, replace(result, digest=digests.get(result.model, result.digest)))
        return verification.section(folder, folder.read())

    write.folder = folder
    return write


def test_no_section_without_records(verified, tmp_path):
    assert verified() is None
    report.write(Results.load(verified.folder), tmp_path / "out")
    for name in ("report.md", "report.html"):
        assert "Do the certificates hold" not in (tmp_path / "out" / name).read_text()
        assert "verified" not in (tmp_path / "out" / name).read_text()


def test_certificates_that_hold(verified):
    section = verified(held("m"), held("b"))
    assert section.passed
    assert section.sentence == (
        "Yes: 108 certificates of 2 models were tested (36 of grade float, 36 of grade real, 36 of grade nominal), "
        "none broken; closest approach 1.0451"
    )
    assert "the first 20 test samples in float64, seed 0" in section.remarks[0]
    assert "0 of 50 certificates of grade float" in section.remarks[1]
    assert len(section.remarks) == 2
    row = ("m", "54", "126", "0", "1.0451", "0.99 <= 1", "1, confirmed", "none")
    assert section.models.rows == (row, ("b", *row[1:]))  # in the order of the run
    assert section.grades.rows[1] == ("m", "real", "1", "18", "126", "0", "none found", "n/a")
    assert section.findings is None


def test_certificates_that_do_not_hold(verified):
    section = verified(broken(verified.folder.path))
    assert not section.passed
    assert section.sentence.startswith(
        "No: 36 certificates of 1 of 2 models were tested (18 of grade real, 18 of grade nominal)"
    )
    assert "7 broken, 1 claimed constant refuted; closest approach 0.0000" in section.sentence
    assert "Certificates or claims that do not hold: b." in section.remarks
    assert "Not verified: m. lipbench verify MODEL -o RUN does it." in section.remarks
    assert section.models.rows == (
        ("b", "36", "126", "7", "0.0000", "0.99 (measured) <= 1", "0.5, not confirmed: refuted", "L101"),
    )
    assert section.grades.rows[1][-1] == "3 of 25"
    assert section.findings.rows == (("b", "L101", "error", "the claim 0.5 is below the bound 1", "a paper"),)


@pytest.mark.parametrize(
    ("changes", "slope", "claim"),
    [
        ({"claimed": None, "claim_confirmed": None}, "0.99 <= 1", "nothing"),
        ({"claim_confirmed": False}, "0.99 <= 1", "1, not confirmed"),
        ({"steepest": 2.0, "bound_witness": None}, "2 > 1: not confirmed", "1, confirmed"),
    ],
)
def test_constants_and_claims(changes, slope, claim, verified):
    path = verified.folder.path / "witnesses" / "w.safetensors"
    changes = {**changes, **({"bound_witness": path} if "bound_witness" in changes else {})}
    (row,) = verified(held("m", constant=replace(HELD, **changes))).models.rows
    assert row[5:7] == (slope, claim)


def test_tests_that_differ_are_told_apart(verified):
    other = replace(TESTED, samples=30, dtype="float32")
    section = verified(held("m"), held("b", tested=other))
    assert "20 test samples in float64, seed 0; the first 30 test samples in float32, seed 0" in section.remarks[0]


def test_the_section_is_in_every_form_and_the_same_bytes_come_out(verified, tmp_path):
    verified(held("m"), broken(verified.folder.path))
    first, second = (report.write(Results.load(verified.folder), tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert report.check(Results.load(verified.folder), tmp_path / "a") == []
    for name in ("report.md", "report.html"):
        text = (tmp_path / "a" / name).read_text()
        assert all(words in text for words in ("Do the certificates hold?", "No: 90 certificates", "L101", "1.0451"))


def test_records_that_are_not_of_the_run_are_refused(verified):
    with pytest.raises(LipbenchError, match="holds a verification of other that is not of the run's model"):
        verified(held("other"))


def test_a_record_of_another_network_of_the_same_name_is_refused(verified):
    records.write(verified.folder.path, held("m"))
    with pytest.raises(LipbenchError, match="holds a verification of m that is not of the run's model"):
        verified()


def test_a_damaged_record_is_refused(verified):
    verified(held("m", verdicts=(verdict(),)))
    path = verified.folder.path / records.RECORDS / "m.json"
    path.write_text(path.read_text().replace("126", "127"))
    with pytest.raises(LipbenchError, match="damaged"):
        verified()
