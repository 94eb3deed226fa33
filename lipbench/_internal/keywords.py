"""Words that users try and that no option or keyword is called: what to write instead, and the closest real one.

Commands and Python functions say the same. Options are named as keywords are: ``--batch-size`` is ``batch_size``.
"""

import functools
import inspect
import re
from collections.abc import Callable, Iterable
from typing import ParamSpec, TypeVar

from lipbench.errors import closest, quoted, shortened

P = ParamSpec("P")
R = TypeVar("R")

SUITE = "attacks and their arguments belong to a suite, a TOML file: see `lipbench list suites`"
RECIPE = "it belongs to the recipe, a TOML file: see `lipbench list recipes`"
MODEL = "models are the first argument: folders, names such as digits, and in Python networks"
NORM = "the norm belongs to the suite: <suite quick-linf>"
FILES = "name each file: <samples FILE>, <summary FILE>, <witnesses FILE>"
OWN_RADIUS = "verify attacks every sample inside its own certified radius, in L2"
BATCHES = "attacks choose their batches; <shard> is the number of samples in one task"


def _each(words: str, hint: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), hint)


_EVERYWHERE = (
    _each("gpu cuda", "write <device cuda>")
    | _each("output output_dir outdir folder", "write <out>")
    | _each("dataset", "write <data>")
    | _each("n_samples num_samples n limit", "write <samples>")
    | _each("verbose", "progress is an option of its own: <progress>")
)
_WORKERS = _each("workers num_workers n_jobs processes", "write <jobs>")
HINTS = {  # by function, which is also the command; <suite quick-linf> is --suite quick-linf or suite="quick-linf"
    "evaluate": _EVERYWHERE
    | _WORKERS
    | _each("attack attacks steps n_iter restarts step_size targets", SUITE)
    | _each("norm p", NORM)
    | _each("epsilon epsilons radius", "write <eps>")
    | _each("model zoo", MODEL)
    | _each("batch_size", BATCHES)
    | _each("epochs lr learning_rate loss", "nothing is trained here: see `lipbench train`"),
    "verify": _EVERYWHERE
    | _each("model zoo", MODEL)
    | dict.fromkeys(["jobs", *_WORKERS], "a verification runs in one process: start one for each model")
    | _each("seeds", "write <seed>, which is one number")
    | _each("suite attack attacks norm eps epsilon", OWN_RADIUS)
    | _each("claimed claim lipschitz", "the claim is on the model's card")
    | _each("batch_size", "attacks choose their batches"),
    "train": _EVERYWHERE
    | _WORKERS
    | _each("epochs lr learning_rate loss losses architecture seed seeds optimizer tau alpha batch_size", RECIPE)
    | _each("threads", "a model is trained with one thread, as its weights depend on their number; write <jobs>")
    | _each("resume", "rerun the same command to resume")
    | _each("samples n_samples num_samples n limit", "training takes all samples of the data set"),
    "report": _each("output output_dir", "write <out>") | _each("suite", "a report shows all of the run"),
    "reproduce": _EVERYWHERE
    | _WORKERS
    | _each("data dataset", "each scale fixes its data: name the folder that holds the files, <data_dir DIR>")
    | _each("name experiment experiments", "experiments are the first argument: see `lipbench reproduce --list`")
    | _each("epochs seeds seed samples n_samples num_samples n limit", "each scale fixes all numbers: write <scale>")
    | _each("threads", "a model is trained with one thread; write <jobs>")
    | _each("resume", "rerun the same command to resume"),
    "compare": _each("out output o", "write <csv FILE>; a page of several runs: `lipbench report RUN RUN -o FOLDER`")
    | _each("epsilon epsilons radius", "write <eps>")
    | _each("suite norm", "suites of one norm are compared, and of one name if both runs have it"),
    "export": _each("out output format", FILES),
    "certify": _each("module network", "the network is the first argument")
    | _each("eps epsilon", "a certified radius is computed: compare it with eps"),
}


def instead(function: str, word: str, known: Iterable[str], write: Callable[[str, str], str]) -> str:
    """What to write instead of a word that is no keyword of a function, or no option of its command.

    known: the keywords that it takes; write: a keyword and its value, which may be empty, as users write them.
    """
    name, known = _name(word), list(known)
    if is_hinted(function, word):
        return re.sub(r"<(\w+) ?([^>]*)>", lambda found: write(found[1], found[2]), HINTS[function][name])
    near = closest(name, known)
    return f"did you mean {write(near, '')}?" if near else f"known are {', '.join(write(one, '') for one in known)}"


def is_hinted(function: str, word: str) -> bool:
    """Whether ``HINTS`` has the word."""
    return _name(word) in HINTS.get(function, {})


def _name(word: str) -> str:
    return word.strip("-").replace("-", "_").lower()


def public(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for a function that users call as ``lipbench.NAME``.

    A wrong keyword is a TypeError, as it is of any function: under that name, and with the keyword to use instead.
    """

    def decorated(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)
        known = [one for one in signature.parameters if one != "self"]

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> R:
            for key in kwargs:
                if key not in known:
                    hint = shortened(instead(name, key, known, _keyword))
                    raise TypeError(f"lipbench.{name}() has no keyword {quoted(key)}: {hint}")
            try:
                signature.bind(*args, **kwargs)
            except TypeError as error:
                raise TypeError(f"lipbench.{name}(): {error}; it takes {', '.join(known)}") from None
            return function(*args, **kwargs)

        return called

    return decorated


def _keyword(name: str, value: str) -> str:
    return f'{name}="{value}"' if value else name
