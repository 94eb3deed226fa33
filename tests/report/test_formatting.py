import io

import pandas as pd
import pytest
from hand_made import CLASHES

from lipbench.models.cards import UNSPECIFIED
from lipbench.report import Results, columns, document, hyperparameters, notation, writer
from lipbench.report.formatting import labels, legend

METRICS = ("clean", "certified", "robust", "gap", "tightness", "mcr", "n", "grade", "seed", "eps", "model", "norm")


@pytest.mark.parametrize("name", CLASHES)
def test_a_hyperparameter_may_have_any_name(make_run, make_model, name):
    def run(hyperparameter):
        models = [
            make_model([1, 1, 0], [radius, 0.0, 0.0], [0.3, 0.05, 0.0], name=f"m{value}", hyperparameters=chosen)
            for radius, value in ((0.15, 1.0), (0.25, 2.0), (0.05, 3.0))
            for chosen in ({hyperparameter: value, "other": 5.0},)
        ]
        return make_run(models)

    folder = run(name)
    summary, plain = Results.load(folder).summary(), Results.load(run("harmless")).summary()
    pd.testing.assert_frame_equal(summary[list(METRICS)], plain[list(METRICS)])
    settings = hyperparameters.over_seeds(summary)
    assert settings[f"loss.{name}"].tolist() == [1.0] * 3 + [2.0] * 3 + [3.0] * 3
    assert columns.hyperparameter_columns(summary) == [
        f"loss.{key}" for key in sorted([name, "other"], key=_known_first)
    ]
    assert settings["robust_mean"].tolist() == pytest.approx([1 / 3, 1 / 3, 0] * 3)
    effects = Results.load(folder).effects()
    assert set(effects["hyperparameter"]) == {name}
    assert set(effects["others"]) == {f"{notation.symbols().get('other', 'other')}=5"}
    shown = " ".join(name.split("\n"))
    assert set(labels(settings).values()) == {
        "tau_cross_entropy, " + ", ".join(f"{key} {value}" for key, value in _in_order(shown, name, value))
        for value in (1, 2, 3)
    }
    read = pd.read_csv(io.StringIO(writer.texts(document.build(Results.load(folder)))["hyperparameters.csv"]))
    assert read[f"loss.{name}"].tolist() == settings[f"loss.{name}"].tolist()
    assert read["robust_mean"].tolist() == settings["robust_mean"].tolist()
    assert f"{shown} 1" in Results.load(folder).table()


def _known_first(name):
    known = list(notation.symbols())
    return (known.index(name) if name in known else len(known), name)


def _in_order(shown, name, value):
    return [(shown, value) if key == name else (key, 5) for key in sorted([name, "other"], key=_known_first)]


def test_words_of_families_are_not_those_of_hyperparameters(make_run, make_model):
    models = [
        make_model([1], [0.1], [0.2], name="a", loss="tau", hyperparameters={"mcr": 1.0}),
        make_model([1], [0.1], [0.2], name="b", loss="mcr", hyperparameters={"tau": 2.0, "alpha": 3.0}),
    ]
    frame = hyperparameters.over_seeds(Results.load(make_run(models)).summary())
    assert set(labels(frame, short=True).values()) == {"tau, mcr 1", "MCR loss, τ=2, α=3"}


def test_hyperparameters_that_differ_behind_the_fourth_digit_are_printed_whole(make_run, make_model):
    models = [make_model([1], [0.1], [0.2], name=str(tau), hyperparameters={"tau": tau}) for tau in (1.00001, 1.00002)]
    settings = hyperparameters.over_seeds(Results.load(make_run(models)).summary())
    assert list(labels(settings).values()) == ["tau_cross_entropy, tau 1.00001", "tau_cross_entropy, tau 1.00002"]


def labels_of(models, make_run):
    return list(labels(hyperparameters.over_seeds(Results.load(make_run(models)).summary())).values())


def test_a_label_tells_the_adversarial_arguments_that_differ_and_eps(make_run, make_model):
    def model(name, **adversarial):
        free = {"loss": "cross_entropy", "hyperparameters": {}, "constrained": False, "adversarial": adversarial}
        return make_model([1], [0.1], [0.2], name=name, **free)

    one, two = model("a", norm="L2", eps=0.3, steps=10), model("b", norm="L2", eps=0.3, steps=20)
    plain = model("c")
    assert labels_of([one, plain], make_run) == ["adversarial training, eps 0.3", "unconstrained"]
    assert labels_of([one, two, plain], make_run)[:2] == [
        "adversarial training, eps 0.3, steps 10",
        "adversarial training, eps 0.3, steps 20",
    ]
    frame = Results.load(make_run([one, plain])).summary()
    assert {"adversarial.norm", "adversarial.eps", "adversarial.steps"} <= set(frame)


def test_the_short_words_are_said_to_be_what_they_are(make_run, make_model):
    models = [make_model([1], [0.1], [0.2], name="a", loss=loss, hyperparameters={"alpha": 0.5}) for loss in ("x",)]
    models += [make_model([1], [0.1], [0.2], name="b", loss="hkr_multiclass", hyperparameters={})]
    models += [make_model([1], [0.1], [0.2], name="c", loss="kr_multiclass", hyperparameters={})]
    frame = hyperparameters.over_seeds(Results.load(make_run(models)).summary())
    assert legend(frame) == "HKR is hkr_multiclass, KR is kr_multiclass, α is alpha."
    assert set(labels(frame, short=True).values()) == {"x, α=0.5", "HKR", "KR"}


def test_a_network_whose_loss_is_not_named_goes_by_its_architecture(make_run, make_model):
    def unnamed(name):
        return make_model([1], [0.1], [0.2], name=name, loss=UNSPECIFIED, hyperparameters={}, architecture=name)

    assert labels_of([unnamed("wide")], make_run) == ["wide"]
    assert labels_of([unnamed("wide"), unnamed("deep")], make_run) == ["deep", "wide"]
    frame = hyperparameters.over_seeds(Results.load(make_run([unnamed("wide")])).summary())
    assert list(labels(frame, without=["architecture"]).values()) == [UNSPECIFIED]
