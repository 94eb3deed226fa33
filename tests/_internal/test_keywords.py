"""Hints for words that are no keyword: they must lead to ones that exist."""

import inspect
import re

import pytest

import lipbench
from lipbench._internal.keywords import HINTS, instead, public


@pytest.mark.parametrize("name", sorted(HINTS))
def test_hints_name_keywords_that_exist_for_words_that_do_not(name):
    known = set(inspect.signature(getattr(lipbench, name)).parameters)
    for word, hint in HINTS[name].items():
        assert word not in known
        assert set(re.findall(r"<(\w+)", hint)) <= known, hint


def test_a_public_function_keeps_its_signature_and_says_its_name():
    @public("thing")
    def f(a: int, *, bee: int = 2) -> int:
        """Adds."""
        return a + bee

    assert (f(1), f(1, bee=1), f.__doc__) == (3, 2, "Adds.")
    assert list(inspect.signature(f).parameters) == ["a", "bee"]
    with pytest.raises(TypeError, match=r"^lipbench.thing\(\) has no keyword 'be': did you mean bee\?$"):
        f(1, be=3)
    with pytest.raises(TypeError, match=r"^lipbench.thing\(\) has no keyword 'zzz': known are a, bee$"):
        f(1, zzz=3)
    with pytest.raises(TypeError, match=r"^lipbench.thing\(\): missing a required argument: 'a'; it takes a, bee$"):
        f()
    with pytest.raises(TypeError, match=r"^lipbench.thing\(\): too many positional arguments; it takes a, bee$"):
        f(1, 2)


def test_an_error_inside_a_public_function_is_its_own():
    @public("thing")
    def f() -> None:
        raise TypeError("unexpected keyword of another function")

    with pytest.raises(TypeError, match=r"^unexpected keyword of another function$"):
        f()


def test_a_hint_is_written_as_its_reader_writes():
    assert instead("evaluate", "--norm", (), lambda name, value: f"--{name} {value}").endswith("--suite quick-linf")
    assert instead("evaluate", "norm", (), lambda name, value: f"{name}={value}").endswith("suite=quick-linf")
