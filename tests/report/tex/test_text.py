import pytest

from lipbench.report.tex import text


@pytest.mark.parametrize(
    ("plain", "source"),
    [
        ("eps 50 % & #1", r"eps 50 \% \& \#1"),
        (r"a\b{c}~^$", r"a\textbackslash{}b\{c\}\textasciitilde{}\textasciicircum{}\$"),
        ("mean ± std", r"mean $\pm$ std"),
        ("-0.5", "$-$0.5"),
        ("CE, τ", r"CE, $\tau$"),
        ("p < 1 > 0", "p $<$ 1 $>$ 0"),
        (
            "a_long_name_of_a_loss",
            r"a\_\hspace{0pt}long\_\hspace{0pt}name\_\hspace{0pt}of\_\hspace{0pt}a\_\hspace{0pt}loss",
        ),
        ("w" * 15, r"wwwwww\hspace{0pt}wwwwww\hspace{0pt}www"),
        ("é 漢 \x07", r"é \hspace{0pt}[U+6F22]  "),
    ],
)
def test_tex_is_escaped(plain, source):
    assert text.tex(plain) == source


@pytest.mark.parametrize(
    ("label", "source"),
    [
        ("α=0.9, m=0.2", r"$\alpha=0.9$, $m=0.2$"),
        ("cnn, τ=1e-05", r"cnn, $\tau=1\cdot10^{-5}$"),
        ("gamma 0.5", "gamma 0.5"),
        ("eps 0.3", r"$\varepsilon=0.3$"),
        ("$=1", r"\$=1"),
        ("m=$x$", r"m=\$x\$"),
        ("λ=-2", r"$\lambda=-2$"),
    ],
)
def test_equations_of_a_label_are_mathematics_and_nothing_else_is(label, source):
    assert text.setting(label) == source


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("α/(1-α)", r"$\alpha/(1-\alpha)$"),
        ("α/(1-β)", r"$\alpha$/(1-$\beta$)"),
        ("m", "$m$"),
        ("gamma", "gamma"),
        ("_", r"\_"),
    ],
)
def test_symbols(name, source):
    assert text.symbol(name) == source


def test_a_radius_is_printed_as_it_was_given():
    assert text.eps("36/255") == r"$\varepsilon=36/255$"
    assert [text.norm(name) for name in ("L2", "Linf", "my_norm")] == [r"$\ell_2$", r"$\ell_\infty$", r"my\_norm"]
    assert text.decimal(-0.04, 1) == "0.0"
    assert text.decimal(1.25, 1, sign=True) == "+1.2"
