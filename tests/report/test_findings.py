"""Findings of runs whose truth is planted: where all samples of a model are alike, every number is exact."""

import re

import numpy as np
import pytest
from click.testing import CliRunner

from lipbench.cli.commands import cli
from lipbench.report import Results, document, findings, hyperparameters, style
from lipbench.report import why as reasons

N = 40
CE = "tau_cross_entropy"
HKR = "hkr_multiclass"


@pytest.fixture
def planted(make_run, make_model):
    """Results of settings: hyperparameters, radius and distance, each a number or one per sample, then, if any, what
    else its models have, and their name in place of the loss's.

    ``how``: of every model; ``run``: of the run.
    """

    def make(*settings, loss=CE, seeds=1, others=(), run=None, **how):
        models = [
            make_model(
                [1] * N,
                *(list(np.broadcast_to(np.asarray(bound, dtype=float), N)) for bound in (radius, distance)),
                name=f"{called}{'-'.join(map(str, values.values()))}-s{seed}",
                loss=loss,
                hyperparameters=values,
                seed=seed,
                **how | (further[0] if further else {}),
            )
            for values, radius, distance, *further in settings
            for called in [further[1] if further[1:] else loss]
            for seed in range(seeds)
        ]
        return Results.load(make_run([*models, *others], **run or {}))

    return make


def taus(radii, distances=(0.9, 0.9, 0.9)):
    return [({"tau": tau}, *bounds) for tau, *bounds in zip((1.0, 4.0, 16.0), radii, distances, strict=True)]


def starting(results, start):
    """The one finding that starts so, or None."""
    found = [text for text in results.findings() if text.startswith(start)]
    assert len(found) <= 1
    return found[0] if found else None


# certified at eps .1 and .2 with a radius of .3, at none with .05; the mean gap to .4 is .25 or .875
@pytest.mark.parametrize(
    ("radii", "said"),
    [
        (
            (0.05, 0.3, 0.05),
            "CE: certified accuracy at eps 0.2 peaks at τ=4 (100 % of resamples). "
            "The mean gap dips at τ=4 (100 % of resamples).",
        ),
        (
            (0.3, 0.05, 0.05),
            "CE: certified accuracy at eps 0.2 falls with τ (100 % of resamples), by 25.0 [25.0, 25.0] points per "
            "doubling of τ. The mean gap rises with τ (100 % of resamples), by 15.6 [15.6, 15.6] points per doubling "
            "of τ.",
        ),
        (
            (0.05, 0.05, 0.3),
            "CE: certified accuracy at eps 0.2 rises with τ (100 % of resamples), by 25.0 [25.0, 25.0] points per "
            "doubling of τ. The mean gap falls with τ (100 % of resamples), by 15.6 [15.6, 15.6] points per doubling "
            "of τ.",
        ),
        (
            (0.3, 0.3, 0.3),
            "CE: certified accuracy at eps 0.2 is the same for all values of τ (100 % of resamples). "
            "The mean gap is the same for all values of τ (100 % of resamples).",
        ),
    ],
)
def test_a_planted_shape_is_stated(planted, radii, said):
    assert starting(planted(*taus(radii)), "CE:") == said


def test_what_resamples_do_not_agree_on_is_no_trend(planted):
    thirds = [np.where(np.arange(N) % 3 == place, 0.3, 0.05) for place in (0, 1, 2)]
    assert starting(planted(*taus(thirds)), "CE:") == (
        "CE: certified accuracy at eps 0.2 has no clear trend in τ. The mean gap has no clear trend in τ."
    )


def test_a_direction_is_stated_where_the_shape_is_not_clear(planted):
    """The last two values are equally good, on other samples: which one is the best is open, and the slope is not."""
    half = np.arange(N) % 2 == 0
    text = starting(planted(*taus((0.05, np.where(half, 0.3, 0.05), np.where(half, 0.05, 0.3)))), "CE:")
    assert re.match(r"CE: certified accuracy at eps 0.2 rises with τ on the whole, by 12.5 \[\S+, \S+\] points", text)


def test_a_gap_that_rises_at_one_eps_and_falls_at_another_is_said(planted):
    changing = starting(planted(*taus((0.15, 0.15, 0.05), (0.9, 0.9, 0.15))), "CE:")
    assert changing.endswith(
        "The gap at a single eps changes its direction: with τ it rises at eps 0.1 and falls at eps 0.2 and 0.4."
    )
    same = starting(planted(*taus((0.15, 0.15, 0.05))), "CE:")
    assert "changes its direction" not in same


def grid(radii):
    """Radii by (alpha, m), of HKR."""
    return [({"alpha": alpha, "min_margin": m}, radius, 0.9) for (alpha, m), radius in radii.items()]


def test_what_depends_on_another_hyperparameter_is_said_of_each_value(planted):
    far, near = 0.3, 0.05
    crossed = grid({(0.5, 0.2): near, (0.9, 0.2): far, (0.5, 1.0): far, (0.9, 1.0): near})
    assert starting(planted(*crossed, loss=HKR), "HKR:") == (
        "HKR: certified accuracy at eps 0.2 rises with α at m=0.2 and falls at m=1. The mean gap "
        "rises with α at m=1 and falls at m=0.2. Certified accuracy at eps 0.2 rises with m at "
        "α=0.5 and falls at α=0.9. The mean gap rises with m at α=0.9 and falls at α=0.5."
    )
    parallel = grid({(0.5, 0.2): near, (0.9, 0.2): far, (0.5, 1.0): near, (0.9, 1.0): far})
    assert starting(planted(*parallel, loss=HKR), "HKR:").startswith(
        "HKR: on average over m, certified accuracy at eps 0.2 rises with α (100 % of resamples), by 31.5 [31.5, 31.5] "
        "points per doubling of α/(1-α)."
    )


def trained(**training):
    return {"card_has": {"training": training}}


def test_the_longest_line_speaks_for_a_hyperparameter_that_has_several(planted):
    long, short = trained(epochs=60), trained(epochs=2)
    lines = [(*setting, long, "long") for setting in taus((0.05, 0.3, 0.05))]
    lines += [(*setting, short, "short") for setting in taus((0.3, 0.05, 0.05))[:2]]
    assert starting(planted(*lines), "CE:").startswith(
        "CE: with training.epochs 60, certified accuracy at eps 0.2 peaks at τ=4 (100 % of resamples)."
    )
    wide = {"architecture": "cnn"}
    lines = [*taus((0.05, 0.3, 0.05)), *((*setting, wide, "cnn") for setting in taus((0.3, 0.05, 0.05))[:2])]
    assert starting(planted(*lines), "CE:").startswith("CE: for mlp, certified accuracy at eps 0.2 peaks at τ=4")


def test_the_best_setting_and_what_is_as_good(planted):
    clear = planted(*taus((0.05, 0.3, 0.05)), seeds=2).findings()[0]
    assert clear == (
        "CE τ=4 has the highest certified accuracy at eps 0.2 (L2, input range [0, 1]): 100.0 % [91.2, 100.0] over 2 "
        "seeds and 40 samples. It is the best one in 100 % of resamples, P(best). Each of the 2 other settings is "
        "worse: no 95 % interval of a difference includes 0 (not corrected for the choice of the best of many)."
    )
    one_less, two_less = (np.where(np.arange(N) < few, 0.05, 0.3) for few in (1, 2))
    closest_first = planted(*taus((two_less, 0.3, one_less))).findings()[0]
    assert closest_first.endswith(": CE τ=16, CE τ=1.")
    close = planted(*taus((0.05, 0.3, one_less))).findings()[0]
    assert close.endswith(
        "It cannot be told apart from 1 of the 2 other settings, as the 95 % interval of the difference includes 0 "
        "(not corrected for the choice of the best of many): CE τ=16."
    )
    two = [planted(*taus((0.05, 0.3, radius))[1:]).findings()[0] for radius in (one_less, 0.05)]
    assert "It cannot be told apart from the other setting, as" in two[0]
    assert "The other setting is worse: no" in two[1]
    alone = planted(*taus((0.05, 0.3, 0.05))[1:2]).findings()
    assert alone[0] == (
        "CE τ=4 has a certified accuracy at eps 0.2 (L2, input range [0, 1]): 100.0 % [91.2, 100.0] over 1 seed and 40 "
        "samples."
    )
    assert not [text for text in alone if text.startswith("CE:")]  # one value has no effect


def test_certificates_how_often_they_were_attacked_and_the_closest_approach(planted):
    radii = np.where(np.arange(N) < 10, 0.0, 0.3)  # ten samples of each model have no radius
    distances = np.where(np.arange(N) == 25, 0.303, 0.9)
    sound = planted(*taus((radii, radii, radii), (0.9, distances, 0.9)))
    # once by the minimal-norm attack, and at each of three eps by PGD
    assert starting(sound, "90 of") == (
        "90 of 90 certified radii (3 networks) were attacked, 4.0 times each on average. None is broken, in grades "
        "float, real and nominal. The closest adversarial input is at 1.01 times its certified radius: sample 25 of "
        f"{CE}4.0-s0."
    )


def test_the_closest_approach_is_not_rounded_to_the_radius(planted):
    close = planted(({"tau": 1.0}, 0.3, 0.3 * (1 + 2e-7)))
    assert "at 1 + 2.0e-07 times its certified radius" in starting(close, "40 of 40")


def test_broken_certificates_are_counted_by_grade(planted):
    broken = planted(({"tau": 1.0}, 0.3, 0.9), nominal=[1.0] * 2 + [0.3] * (N - 2))
    text = starting(broken, "40 of 40")
    assert "Broken certificates: 0 of grade float, 0 of grade real and 2 of grade nominal." in text
    assert "None is broken" not in text


def test_radii_that_no_attack_saw_are_not_counted_as_attacked(planted):
    failed = dict.fromkeys(("gradient/minimal", "art/PGD"), "it ran out of memory")
    unseen = {"failed": failed}
    results = planted(({"tau": 1.0}, 0.3, 0.9), ({"tau": 4.0}, 0.3, 0.9, unseen))
    assert starting(results, "40 of 80").startswith("40 of 80 certified radii (2 networks) were attacked, 4.0 times")
    limits = starting(results, "Limits:")
    for attack in failed:
        assert f"{attack} failed and was left out on 1 network: {CE}4.0-s0." in limits


ALONE = (
    "intervals, trends and P(best) cover samples alone there, and another seed may change the order (in simulations "
    "with one seed, 40 % of the intervals of a difference hold the truth)."
)
ONE = f"Every setting has one seed: {ALONE}"


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (1, f"Limits: {ONE}"),
        (3, "Limits: Settings have 3 seeds: the spread over seeds is poorly known, and intervals are wide."),
        (5, None),
    ],
)
def test_few_seeds_are_a_limit(planted, seeds, said):
    assert starting(planted(*taus((0.05, 0.3, 0.05)), seeds=seeds), "Limits:") == said


def test_some_settings_with_one_seed(planted, make_model):
    one = make_model([1] * N, [0.1] * N, [0.9] * N, name="one", hyperparameters={"tau": 64.0})
    limits = starting(planted(*taus((0.05, 0.3, 0.05)), seeds=2, others=[one]), "Limits:")
    assert limits == (
        f"Limits: 1 of 4 settings have one seed: {ALONE} 3 of 4 settings have 2 seeds: the "
        "spread over seeds is poorly known, and intervals are wide."
    )


def test_signs_of_weak_attacks_are_a_limit(planted):
    stuck = {"loss_stuck": [0, 1]}
    run = {"reference_attack": "autoattack"}
    weak = planted(*taus((0.05, 0.3, 0.05))[:2], ({"tau": 16.0}, 0.05, 0.9, stuck), seeds=5, run=run)
    names = ", ".join(f"{CE}16.0-s{seed}" for seed in range(3))
    assert starting(weak, "Limits:") == (
        "Limits: Attacks show signs of failing on 5 of 15 networks, whose robust accuracy may be too high: "
        f"{names} and 2 more."
    )


NONE = {"no_certificate": "softmax has no Lipschitz bound", "claimed": None}


def test_networks_without_a_certificate(planted):
    distances = (0.15, 0.9, 0.15)
    none = planted(*taus((0.0, 0.0, 0.0), distances), seeds=5, **NONE)
    found = none.findings()
    assert found[0].startswith("CE τ=4 has the highest robust accuracy at eps ")
    assert found[1].startswith("CE: robust accuracy at eps ")
    assert found[1].endswith("peaks at τ=4 (100 % of resamples).")
    assert found[2:] == [
        "Limits: No network has a certificate: only attacks speak about robustness, and better ones may lower it."
    ]
    some = planted(*taus((0.05, 0.3, 0.05))[:2], ({"tau": 16.0}, 0.0, 0.9, NONE), seeds=5)
    assert starting(some, "Limits:").startswith("Limits: 5 of 15 networks have no certificate: ")
    assert some.findings()[0].startswith("CE τ=4 has the highest certified accuracy")


def test_a_layer_set_that_was_trained_with_another_rate_is_said_to_be(planted):
    usual, slow = trained(learning_rate=0.002), trained(learning_rate=0.001)
    other = {"architecture": "cnn", "layers": "orthogonium"}
    settings = [(*setting, usual) for setting in taus((0.05, 0.3, 0.05))]
    confounded = planted(*settings, ({"tau": 4.0}, 0.3, 0.9, other | slow, "cnn"), seeds=5)
    assert starting(confounded, "Limits:") == (
        "Limits: Some settings were also trained differently from most, so that a difference from them need not come "
        "from the loss or the layers: cnn CE τ=4 (learning_rate 0.001 instead of 0.002)."
    )
    equal = planted(*settings, ({"tau": 4.0}, 0.3, 0.9, other | usual, "cnn"), seeds=5)
    assert starting(equal, "Limits:") is None
    # the same loss and layers at both rates: these two compare the rate, and the other settings keep to the rule
    beside = planted(*settings, ({"tau": 4.0}, 0.1, 0.9, slow, "slow"), seeds=5)
    assert starting(beside, "Limits:") is None


def test_many_families_share_a_paragraph_per_metric(planted, make_model):
    several = [
        make_model([1] * N, [radius] * N, [0.9] * N, name=f"{loss}{radius}", loss=loss, hyperparameters={name: value})
        for loss, name, values in (
            ("hinge_multiclass", "min_margin", (0.1, 0.5)),
            ("soft_hkr_multiclass", "alpha", (0.2, 0.8)),
            ("offset_cross_entropy", "offset", (1.0, 2.0)),
        )
        for value, radius in zip(values, (0.05, 0.3), strict=True)
    ]
    found = planted(*taus((0.05, 0.3, 0.05)), others=several).findings()
    assert len(found) <= findings.MOST
    certified, gap = found[1:3]
    assert certified.startswith("Certified accuracy at eps 0.2, loss by loss: ")
    assert "CE peaks at τ=4" in certified
    assert "hinge rises with m" in certified
    assert gap.startswith("Mean gap, loss by loss: ")
    assert "hinge falls with m" in gap


def test_where_the_largest_gap_comes_from(planted):
    results = planted(*taus((0.05, 0.3, 0.04)))
    group = document.build(results).sections[0].group
    asked, because = [], "The first layer lets 76 % of the gradient back."

    def why(setting):
        asked.append(setting)
        return because

    found = findings.findings(group, results.items, why)
    said = "Of the networks with 1-Lipschitz layers, CE τ=16 has the largest mean gap, 90.0 points "
    assert next(text for text in found if text.startswith(said)).endswith(because)
    worst = results.hyperparameters().query("`loss.tau` == 16")["setting"].iloc[0]
    assert asked == [worst]
    eps = hyperparameters.chosen_eps(group.settings)
    said = findings.findings(group, results.items, reasons.of(group, results.factors(), eps))
    assert said == document.build(results).runs[0].findings


def test_findings_of_several_suites_have_their_names(planted, suite):
    suites = [suite("quick", eps=[0.1, 0.2]), suite("other", "Linf", eps=[0.02])]
    results = planted(*taus((0.05, 0.3, 0.05)), run={"suites": suites})
    report = document.build(results)
    assert [text.split(":")[0] for text in report.runs[0].findings] == [
        section.group.suite for section in report.sections for _ in section.findings
    ]
    assert {text.split(":")[0] for text in report.runs[0].findings} == {"quick", "other"}


def test_the_same_run_gives_the_same_words_in_report_and_terminal(make_run, sweep, tmp_path, monkeypatch):
    monkeypatch.setattr(style, "encode", lambda figure, kind: b"a picture")
    folder = make_run(sweep(seeds=2, n=60)[::3])
    first, again = (Results.load(folder).findings() for _ in range(2))
    assert first == again
    assert 3 <= len(first) <= findings.MOST
    shown = CliRunner().invoke(cli, ["report", str(folder.path), "-o", str(tmp_path / "out")])
    assert shown.exit_code == 0, shown.output
    assert f"\n{first[0]}\n" in shown.output
    assert first[1] not in shown.output
    text = (tmp_path / "out" / "report.md").read_text()
    assert [line.startswith("* ") for line in text.splitlines() if line[2:6] == first[0][:4]] == [True]
    assert text.index("## Findings") < text.index("## The run")
