"""Words, symbols and numbers as TeX source. Whatever a name holds, it is printed, and never run."""

import re
import unicodedata

from lipbench.report.formatting import signed

_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"$<$",
    ">": r"$>$",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "∞": r"$\infty$",
    "\N{MINUS SIGN}": "$-$",
}
_GREEK = "greek small letter "
_NORMS = {"L1": r"$\ell_1$", "L2": r"$\ell_2$", "Linf": r"$\ell_\infty$"}
_NUMBER = r"-?\d+(?:\.\d+)?(?:e[-+]\d+)?"
LONG, PIECE = 12, 6  # letters in a row: more than so many may be broken after every so many
BREAK = r"\hspace{0pt}"


def tex(text: str) -> str:
    """Plain text as TeX source: what TeX reads as commands is escaped, and long words may be broken."""
    words = (_breakable(word) if len(word) > LONG else _plain(word) for word in re.split(r"(\s+)", text))
    return re.sub(r"^-(?=\d)", "$-$", "".join(words))


def _breakable(word: str) -> str:
    pieces = re.findall(r"[^_\-/().,=]*[_\-/().,=]|[^_\-/().,=]+", word)
    split = [part for piece in pieces for part in (_cut(piece) if len(piece) > LONG else [piece])]
    return BREAK.join(map(_plain, split))


def _cut(piece: str) -> list[str]:
    return [piece[at : at + PIECE] for at in range(0, len(piece), PIECE)]


def _plain(text: str) -> str:
    return "".join(_letter(letter) for letter in text)


def _letter(letter: str) -> str:
    if letter in _TEX:
        return _TEX[letter]
    if letter.isascii():
        return letter if letter.isprintable() else " "
    command = _greek(letter)
    if command:
        return f"${command}$"
    known = unicodedata.category(letter)[0] in "LNP" and unicodedata.name(letter, "").startswith("LATIN ")
    return letter if known else f"{BREAK}[U+{ord(letter):04X}]"  # pdfLaTeX stops at letters that its fonts lack


def _greek(letter: str) -> str:
    """The command of a small Greek letter, such as the symbol of a hyperparameter; empty for other letters."""
    name = unicodedata.name(letter, "").lower()
    if not name.startswith(_GREEK) or " " in name.removeprefix(_GREEK):
        return ""
    bare = name.removeprefix(_GREEK).replace("lamda", "lambda")
    return {"omicron": "o"}.get(bare, rf"\{bare}")


def symbol(text: str) -> str:
    """A symbol, one letter, or its odds such as α/(1-α), in mathematics; any other name as text."""
    found = re.fullmatch(r"(\w)(/\(1-(\w)\))?", text)
    if found is None or (found[2] and found[1] != found[3]):
        return tex(text)
    letter = found[1] if found[1].isascii() and found[1].isalpha() else _greek(found[1])
    if not letter:
        return tex(text)
    return f"${letter}/(1-{letter})$" if found[2] else f"${letter}$"


def setting(label: str) -> str:
    """A label of ``formatting.labels``, such as ``α=0.9, m=0.2``, with each equation in mathematics."""
    return ", ".join(_part(part) for part in label.split(", "))


def _part(part: str) -> str:
    if re.fullmatch(rf"eps {_NUMBER}", part):  # of adversarial training
        return eps(part.removeprefix("eps "))
    found = re.fullmatch(rf"(\w)=({_NUMBER})", part)
    if found is None or not (left := symbol(found[1])).startswith("$"):
        return tex(part)
    return f"{left[:-1]}={number(found[2])}$"


def legend(words: str) -> str:
    """What short words stand for, ``CE is tau_cross_entropy, m is min_margin.``, with symbols in mathematics."""
    parts = (part.partition(" is ") for part in words.split(", "))
    return ", ".join(f"{symbol(short)}{tex(between)}{tex(name)}" for short, between, name in parts)


def norm(name: str) -> str:
    """A norm of a suite."""
    return _NORMS.get(name, tex(name))


def eps(shown: str) -> str:
    """A radius as it was given, such as 36/255."""
    return rf"$\varepsilon={number(shown)}$"


def number(shown: str) -> str:
    """A number or a fraction for mathematics; 1e-05 becomes a power of 10."""
    mantissa, _, exponent = shown.partition("e")
    return rf"{mantissa}\cdot10^{{{int(exponent)}}}" if exponent else mantissa


def decimal(value: float, digits: int, sign: bool = False) -> str:
    """A number with fixed decimals, for mathematics; 0 has no sign."""
    shown = signed(value, digits)
    return shown if sign else shown.removeprefix("+")
