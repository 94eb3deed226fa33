import pytest

from lipbench.report import Results, tables
from lipbench.report.tables import Table


def test_architectures_under_the_same_loss_stand_side_by_side(make_run, make_model):
    def model(name, tau, radius, **how):
        return make_model([1], [radius], [0.2], name=name, hyperparameters={"tau": tau}, **how)

    models = [
        model("a", 4.0, 0.05),
        model("b", 4.0, 0.15, layers="orthogonium"),
        model("c", 4.0, 0.15, layers="orthogonium", seed=1),
        model("d", 8.0, 0.1),
        make_model([1], [0.1], [0.2], name="e", loss="cross_entropy", hyperparameters={}, constrained=False),
    ]
    table = tables.matched_table(tables.groups(Results.load(make_run(models)).summary())[0])
    assert [row[:4] for row in table.rows] == [
        ("tau_cross_entropy, tau 4", "mlp(layers=orthogonium)", "2", "0.75 ± 0.00"),
        ("tau_cross_entropy, tau 4", "mlp(layers=torchlip)", "1", "0.25"),
    ]
    assert tables.matched_table(tables.groups(Results.load(make_run(models[3:])).summary())[0]) is None


def test_the_terminal_table_has_a_row_per_setting(make_run, sweep):
    text = Results.load(make_run(sweep(seeds=2, n=20))).table().splitlines()
    assert len(text) == 3 + 15
    assert all(len(line) <= 110 for line in text)
    assert text[0].endswith("n = 20; accuracies in percent; certified is grade float")
    assert not any("..." in line for line in text)
    assert sum(line.startswith("adversarial training, eps 0.3  ") for line in text) == 1
    assert text[1].split()[-6:] == ["certified", "robust", "gap", "mean", "gap", "tightness"]
    assert text[-1] == "violations: 0 of grade float, 0 of grade real, 0 of grade nominal"


@pytest.mark.parametrize(("other", "cut"), [("cnn", False), ("a_long_name_of_an_architecture", True)])
def test_the_terminal_table_cuts_only_what_is_longer_than_any_bundled_setting(make_run, make_model, other, cut):
    setting = {"loss": "hkr_multiclass", "hyperparameters": {"alpha": 0.99, "min_margin": 0.05}}
    models = [make_model([1], [0.1], [0.2], name=name, **setting, architecture=name) for name in ("mlp", other)]
    text = Results.load(make_run(models)).table()
    assert all(len(line) <= 110 for line in text.splitlines())
    assert ("..." in text) is cut


def test_large_means_of_counts_are_whole_numbers(make_run, sweep):
    summary = Results.load(make_run(sweep(seeds=1, n=20))).summary().assign(forward=3575, audited=3)
    rows = {row[0]: row[1:] for row in tables.attack_table(tables.groups(summary)[0]).rows}
    assert set(rows["forward evaluations"]) == {"3575"}
    assert set(rows["of these, certified samples (audit)"]) == {"3.0"}


@pytest.mark.parametrize(
    ("cells", "said"),
    [
        (["0.0"] * 3, "The same for every model, 3 in all: zero gradient, signs 0.0, stuck, signs 0.0."),
        (["0.0", "0.0", "0.5"], ""),
        (["0.0"] * 2, ""),  # few rows stay a table
        ([], ""),
    ],
)
def test_a_table_that_says_the_same_in_every_row_is_a_sentence(cells, said):
    rows = tuple((f"m{place}", cell, cell) for place, cell in enumerate(cells))
    table = Table("Signs", ("model", "zero gradient", "stuck"), rows, groups=(("", 1), ("signs", 2)))
    assert table.sentence == said


def test_a_table_of_anything_else_keeps_its_rows():
    rows = tuple((grade, "model", "0.3") for grade in ("float", "real", "nominal"))
    assert Table("Violations", ("grade", "model", "radius"), rows).sentence == ""
