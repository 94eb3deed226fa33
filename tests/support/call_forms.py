"""Random networks that call the same operations in every form that torch allows, and the truth about their constants.

Functions, methods, operators and modules; positions and keywords in any order, NumPy's names, defaults given or not; in
place or not; broadcast, shared and viewed operands; constants, one at a time or a tensor; sizes read from the input.
Networks that are no function of one sample, or that round, are marked: they must be refused.
"""

import copy
import linecache
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from measured import Forward
from torch import Tensor, fx, nn
from torch.nn import functional as F  # noqa: F401  the networks' code names it

from lipbench.certification.lipschitz import Effect, Rounding, rule, trace
from lipbench.certification.rounding import NotAnalysed, analyse
from lipbench.errors import LipbenchError

SHAPES = [(4,), (6,), (2, 3), (3, 4), (2, 6)]
LARGEST = 64  # numbers of a value


# --- what a user may have written himself ----------------------------------------------------------------------------


class Blend(nn.Module):
    """A layer of two inputs, which a trace does not open."""

    def forward(self, first, second, share=0.25):
        return share * first + (3 - share) * second


@rule(Blend)
def _blend_layer(layer, one, other):
    return Effect((0.25, 2.75), Rounding(8, (0.25, 2.75), underflows=100.0))


class Opened(nn.Module):
    """The same, which a trace opens."""

    def forward(self, first, second, share=0.25):
        return share * first + (3 - share) * second


@fx.wrap
def mixed(first, second, share=3.0):
    return share * first - second / share


@rule(mixed)
def _mixed(second, first, share=1.0):  # in an order of its own
    return Effect((1 / share, share), Rounding(8, (1 / share, share), underflows=100.0))


@fx.wrap
def swept(first, second, share=3.0):
    return share * first - second / share


@rule(swept)
def _swept(a, b, c=1.0):  # under names of its own
    return Effect((c, 1 / c), Rounding(8, (c, 1 / c), underflows=100.0))


# --- calls -----------------------------------------------------------------------------------------------------------


@dataclass
class Program:
    """A forward that is being written: its lines, its constants, and what each variable is for a batch of two."""

    rng: random.Random
    shape: tuple[int, ...]
    lines: list[str] = field(default_factory=list)
    held: dict[str, object] = field(default_factory=dict)
    values: dict[str, Tensor] = field(default_factory=dict)
    refuse: bool = False

    def constant(self, *shape: int) -> str:
        name = f"c{len(self.held)}"
        generator = torch.Generator().manual_seed(self.rng.randrange(2**31))
        value = torch.randn(shape, generator=generator, dtype=torch.float64) + 0.1
        self.held[name] = value if self.rng.random() < 0.5 else nn.Parameter(value)
        return f"m.{name}"

    def module(self, layer: nn.Module) -> str:
        name = f"layer{len(self.held)}"
        self.held[name] = layer.double()
        return f"m.{name}"

    def number(self) -> str:
        return repr(self.rng.choice([-3.0, 0.5, 2, 10.0, -0.1, 1]))

    def value(self, shape: torch.Size | None = None) -> str:
        fitting = [name for name, held in self.values.items() if shape is None or held.shape == shape]
        return self.rng.choice(fitting)

    def small(self, name: str) -> str:
        """A value that is broadcast to another's shape."""
        return f"{name}[:, :1]"

    def operand(self, name: str) -> str:
        """Something to put beside a value: another one, itself, a multiple, a broadcast one, a constant, a number."""
        shape = self.values[name].shape
        return self.rng.choice(
            [
                lambda: self.value(shape),
                lambda: name,
                lambda: f"{self.number()} * {self.value(shape)}",
                lambda: self.small(self.value(shape)),
                lambda: self.constant(*shape[1:]),
                lambda: self.constant(1, *[1] * (len(shape) - 1)),
                self.number,
            ]
        )()

    def call(self, given: dict[str, str], functions: tuple[str, ...] = (), methods: tuple[str, ...] = (), *,
             kw_only: tuple[str, ...] = (), aliases: dict[str, str] | None = None) -> str:  # fmt: skip
        """Some form of a call; given: argument by name, in the order of the signature."""
        names = list(given)
        forms = [*(("function", one) for one in functions), *(("method", one) for one in methods)]
        kind, what = self.rng.choice(forms)
        receiver = given[names.pop(0)] if kind == "method" else None
        if receiver is not None:
            receiver = f"({receiver} * 1.0)" if what.endswith("_") else f"({receiver})"
        places = [name for name in names if name not in kw_only]
        positional = self.rng.randint(0, len(places))
        keywords = [name for name in names if name not in places[:positional]]
        self.rng.shuffle(keywords)
        shown = aliases if aliases and kind == "function" and self.rng.random() < 0.3 else {}
        arguments = [given[name] for name in places[:positional]]
        arguments += [f"{shown.get(name, name)}={given[name]}" for name in keywords]
        return f"{what}({', '.join(arguments)})" if receiver is None else f"{receiver}.{what}({', '.join(arguments)})"

    def sometimes(self, **more: str) -> dict[str, str]:
        return {name: value for name, value in more.items() if self.rng.random() < 0.5}


Operation = Callable[[Program, str], str]
NUMPYS = {"input": "x1", "other": "x2", "dim": "axis", "keepdim": "keepdims"}
OPERATIONS: list[Operation] = []
WRONG: list[Operation] = []  # networks with one of these must be refused


def operation(function: Operation) -> Operation:
    OPERATIONS.append(function)
    return function


def wrong(function: Operation) -> Operation:
    WRONG.append(function)
    return function


@operation
def added(p, v):
    name = p.rng.choice(["add", "sub"])
    given = {"input": v, "other": p.operand(v)}
    if p.rng.random() < 0.3 and given["other"].startswith(("v", "x")):
        given = {"input": given["other"], "other": v}
    more = {"sub": ("torch.subtract",), "add": ()}[name]
    return p.call(given | p.sometimes(alpha=p.number()), (f"torch.{name}", *more), (name, f"{name}_"),
                  kw_only=("alpha",), aliases=NUMPYS)  # fmt: skip


@operation
def reversed_difference(p, v):
    other = p.value(p.values[v].shape)
    return p.call({"input": v, "other": other} | p.sometimes(alpha=p.number()), ("torch.rsub",), kw_only=("alpha",))


@operation
def summed_by_operators(p, v):
    other = p.operand(v)
    return p.rng.choice([f"{v} + {other}", f"{other} - {v}", f"{v} - {other}", f"-{v} + {other}"])


@operation
def augmented(p, v):
    sign = p.rng.choice(["+=", "-=", "*=", "/="])
    other = p.operand(v) if sign in ("+=", "-=") else p.number()
    p.lines.append(f"t = {p.rng.choice([f'{v} * 1.0', f'{v}.clone()', v])}")
    p.lines.append(f"t {sign} {other}")
    return "t"


@operation
def multiplied(p, v):
    shape = p.values[v].shape
    factor = p.rng.choice([p.number(), p.constant(*shape[1:]), p.constant(1, *[1] * (len(shape) - 1)), p.constant()])
    given = {"input": v, "other": factor}
    if p.rng.random() < 0.3:
        given = {"input": factor, "other": v}
        return p.call(given, ("torch.mul", "torch.multiply"), aliases=NUMPYS)
    if p.rng.random() < 0.3:
        return p.rng.choice([f"{v} * {factor}", f"{factor} * {v}", f"{v} / {factor}"])
    name = p.rng.choice(["mul", "div"])
    names = {"mul": "torch.multiply", "div": "torch.true_divide"}
    return p.call(given, (f"torch.{name}", names[name]), (name, f"{name}_"), aliases=NUMPYS)


@operation
def interpolated(p, v):
    given = {"input": v, "end": p.value(p.values[v].shape), "weight": p.rng.choice(["0.1", "-2.0", p.constant()])}
    return p.call(given, ("torch.lerp",), ("lerp",))


@operation
def larger(p, v):
    name = p.rng.choice(["maximum", "minimum", "fmax", "fmin", "max", "min"])
    other = p.rng.choice([p.value(p.values[v].shape), p.constant(*p.values[v].shape[1:]), p.small(v)])
    methods = () if name.startswith("f") else (name,)
    return p.call({"input": v, "other": other}, (f"torch.{name}",), methods)


@operation
def largest(p, v):
    name = p.rng.choice(["max", "min", "amax", "amin"])
    given = {"input": v, "dim": p.rng.choice(["-1", "1"]), "keepdim": "True"}
    text = p.call(given, (f"torch.{name}",), (name,), aliases=NUMPYS)
    return text if name.startswith("a") else text + p.rng.choice([".values", "[0]"])


@operation
def clamped(p, v):
    limits = {"min": p.rng.choice(["-0.5", "None"]), "max": "0.7"}
    if p.rng.random() < 0.2:
        limits = {"min": p.constant(*p.values[v].shape[1:])}
    return p.call({"input": v} | limits, ("torch.clamp", "torch.clip"), ("clamp", "clamp_"))


@operation
def activated(p, v):
    _, functions, methods, more = p.rng.choice(
        [
            ("relu", ("F.relu",), (), p.sometimes(inplace="False")),
            ("relu", ("torch.relu",), ("relu", "relu_"), {}),
            ("abs", ("torch.abs",), ("abs", "abs_"), {}),
            ("neg", ("torch.neg",), ("neg",), {}),
            ("tanh", ("torch.tanh", "F.tanh"), ("tanh",), {}),
            ("hardtanh", ("F.hardtanh",), (), p.sometimes(min_val="-2.0", max_val="0.25")),
            ("leaky", ("F.leaky_relu",), (), p.sometimes(negative_slope="-3.0", inplace="False")),
            ("elu", ("F.elu",), (), p.sometimes(alpha="2.5")),
            ("dropout", ("F.dropout",), (), {"training": "m.training"} | p.sometimes(p="0.9")),
        ]
    )
    given = {"input": v} | more
    kw_only = tuple(more)  # some are left out
    return p.call(given, functions, methods, kw_only=kw_only)


@operation
def activated_in_place(p, v):
    p.lines.append(f"t = {v} * 1.0")
    return p.rng.choice(["F.relu(t, True)", "F.relu(inplace=True, input=t)", "torch.relu_(t)", "F.relu_(input=t)"])


@operation
def reduced(p, v):
    name = p.rng.choice(["sum", "mean"])
    dim = p.rng.choice(["1", "-1", "[1]", "(-1,)"])
    keep = {"keepdim": "True"} if p.values[v].ndim == 2 else p.sometimes(keepdim="True")
    return p.call({"input": v, "dim": dim} | keep, (f"torch.{name}",), (name,), aliases=NUMPYS)


@operation
def joined(p, v):
    parts = [v, p.rng.choice([p.value(p.values[v].shape), p.small(v), f"-{v}", f"5 * {v}[:, 1:]"])]
    p.rng.shuffle(parts)
    tensors = p.rng.choice(["[{}]", "({})"]).format(", ".join(parts))
    names = ("torch.cat", "torch.concat", "torch.concatenate")
    return p.call({"tensors": tensors, "dim": "1"}, names, aliases={"dim": "axis"})


@operation
def stacked(p, v):
    tensors = [v, p.value(p.values[v].shape), f"3 * {v}"]
    p.rng.shuffle(tensors)
    return (
        p.call({"tensors": f"[{', '.join(tensors)}]", "dim": p.rng.choice(["1", "-1"])}, ("torch.stack",))
        + ".flatten(1)"
    )


@operation
def dense(p, v):
    size = p.values[v].shape[-1]
    out = p.rng.choice([2, size])
    weight, bias = p.constant(out, size), p.constant(out)
    return p.rng.choice(
        [
            lambda: p.call({"input": v, "weight": weight} | p.sometimes(bias=bias), ("F.linear",), kw_only=("bias",)),
            lambda: p.call({"input": v, "other": f"{weight}.mT"}, ("torch.matmul",), ("matmul",)),
            lambda: f"{v} @ {weight}.T",
            lambda: p.call({"input": v}, (p.module(nn.Linear(size, out)),)),
        ]
    )()


@operation
def convolved(p, v):
    if p.values[v].ndim != 3:
        return dense(p, v)
    channels = p.values[v].shape[1]
    weight, bias = p.constant(2, channels, 2), p.constant(2)
    more = p.sometimes(bias=bias, stride="2", padding=p.rng.choice(["1", "(1,)"]), dilation="1")
    if p.rng.random() < 0.3:
        weight = p.constant(channels, 2, 2)
        return p.call({"input": v, "weight": weight} | more, ("F.conv_transpose1d",), kw_only=tuple(more))
    return p.call({"input": v, "weight": weight} | more, ("F.conv1d", "torch.conv1d"), kw_only=tuple(more))


@operation
def normalised(p, v):
    channels = p.values[v].shape[1]
    given = {
        "input": v,
        "running_mean": f"{p.constant(channels)}.detach()",
        "running_var": f"{p.constant(channels)}.detach().abs()",
    } | p.sometimes(weight=p.constant(channels), bias=p.constant(channels), eps="0.1")
    kw_only = ("weight", "bias", "eps")
    return p.call(given, ("F.batch_norm",), kw_only=kw_only)


@operation
def padded(p, v):
    return p.call(
        {"input": v, "pad": "(1, 0)"} | p.sometimes(mode="'constant'", value="3.0"),
        ("F.pad",),
        kw_only=("value", "mode"),
    )


@operation
def moved(p, v):
    many = p.values[v].ndim > 2
    return p.rng.choice(
        [
            f"{v}.flatten(1)",
            f"torch.flatten(start_dim=1, input={v})",
            f"{v}.view({v}.shape[0], -1)",
            f"{v}.reshape(x.size(0), -1)",
            f"torch.reshape(shape=(x.size(0), -1), input={v})",
            f"{v}.view({v}.shape[:2] + (-1,)).flatten(1)",
            f"{v}.transpose(1, {2 if many else -1})",
            f"{v}.flip(1)",
            f"{v}[:, 1:]",
            f"{v}[:, [0, 0, 1]]",
            f"{v}.chunk(2, 1)[{p.rng.choice([0, -1])}]",
            f"torch.split({v}, 1, dim=1)[1]",
            f"{v}.narrow(1, 0, 1)",
            f"{v}[:, :1].expand({', '.join(['-1', '3', *['-1'] * (p.values[v].ndim - 2)])})",
            f"{v}.roll(1, 1)",
            f"{v}.clone()",
        ]
    )


@operation
def with_module_of_two(p, v):
    kind = p.rng.choice([Blend, Opened])
    given = {"first": v, "second": p.rng.choice([p.value(p.values[v].shape), f"5 * {v}"])}
    more = {} if kind is Blend else p.sometimes(share="-1.5")
    return p.call(given | more, (p.module(kind()),))


@operation
def with_function_of_two(p, v):
    given = {"first": v, "second": p.rng.choice([p.value(p.values[v].shape), f"5 * {v}"])}
    return p.call(given | p.sometimes(share="0.5"), (p.rng.choice(["mixed", "swept"]),))


@operation
def sized(p, v):
    """Sizes that are not the batch's."""
    return p.rng.choice([f"{v} * {v}.shape[1]", f"{v} / x.size(-1)", f"{v} * x.dim()", f"{v}.view(-1, {v}[0].numel())"])


@operation
def laid_out(p, v):
    token = p.constant(1, *p.values[v].shape[1:])
    p.held[token[2:]] = nn.Parameter(p.held[token[2:]])  # a trace opens calls of parameters only
    sizes = ", ".join(["x.shape[0]", *["-1"] * (p.values[v].ndim - 1)])
    return p.rng.choice(
        [f"torch.cat([{v}, {token}.expand({sizes})], 1)", f"torch.cat([{token}.expand({sizes}), {v}], dim=1)"]
    )


@wrong
def by_the_batch(p, v):
    count = p.rng.choice(["x.shape[0]", f"{v}.size(0)", f"{v}.size(dim=0)", "x.shape[:1][0]", "x.size()[0]"])
    numbers = [
        count,
        f"({count} // 2)",
        f"(1 + {count} // 1000)",
        f"({count} % 7)",
        "x.numel()",
        f"({v}.numel() // 1000)",
    ]
    number = p.rng.choice(numbers)
    calls = ["{v} * {n}", "{v} + {n}", "torch.add({v}, {v}, alpha={n})", "{v} / ({n} + 1)", "{v}.mul(other={n})"]
    return p.rng.choice(calls).format(v=v, n=number)


@wrong
def by_the_place(p, v):
    """Constants that differ from sample to sample."""
    ones = ", 1" * (p.values[v].ndim - 1)
    place = f"torch.arange(x.shape[0]).view(-1{ones})"
    return p.rng.choice([f"{v} + {place}", f"{v} * (1 + {place})", f"torch.cat([{v}, {place} + 0 * {v}.detach()], 1)"])


@wrong
def across_the_batch(p, v):
    others = ["{v}.mean(0, keepdim=True)", "{v}.flip(0)", "torch.sum({v}, axis=0)", "{v}[:1]", "{v}.roll(1, 0)"]
    return f"{v} - " + p.rng.choice(others).format(v=v)


@wrong
def rounded(p, v):
    kind = p.rng.choice(["float16", "bfloat16", "float8_e5m2", "float8_e4m3fn"])
    cast = p.rng.choice(["{}.to(torch.{})", "{}.to(dtype=torch.{})", "{}.to('cpu', torch.{})", "{}.type(torch.{})"])
    if kind in ("float16", "bfloat16") and p.rng.random() < 0.3:
        cast = {"float16": "{}.half()", "bfloat16": "{}.bfloat16()"}[kind]
    return cast.format(v, kind) + ".to(x.dtype)"


@wrong
def noisy(p, v):
    size = p.values[v].shape[-1]
    return f"{v} + " + p.rng.choice(["torch.rand(1)", f"1e-9 * torch.randn({size})", f"torch.rand_like({v})"])


# --- networks --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A network, and whether it must be refused."""

    network: nn.Module
    shape: tuple[int, ...]
    source: str
    refuse: bool


def case(seed: int) -> Case:
    """The network of one seed."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    p = Program(rng, rng.choice(SHAPES))
    p.values["x"] = torch.randn(2, *p.shape, dtype=torch.float64)
    # a rounded or mixed sample must be seen in the outputs of few operations, so that it is there at all
    wrong_at = rng.randrange(1, 4) if rng.random() < 0.2 else None
    for number in range(1, rng.randint(2, 7)):
        for _ in range(5):  # until one fits
            table = WRONG if number == wrong_at else OPERATIONS
            before, held = list(p.lines), dict(p.held)
            line = f"v{number} = {rng.choice(table)(p, p.value())}"
            p.lines.append(line)
            value = _tried(p)
            if value is not None:
                p.values[f"v{number}"] = value
                break
            p.lines, p.held = before, held
        else:
            continue
        p.refuse |= number == wrong_at
    last = list(p.values)[-1]
    if p.refuse:  # it must reach the output
        p.lines.append(f"end = torch.cat([{last}.flatten(1), v{wrong_at}.flatten(1)], 1)")
        last = "end"
        value = _tried(p)
        if value is None:  # too large
            return case(seed + 10**9)
        p.values[last] = value
    source = "def forward(m, x):\n" + "".join(f"    {line}\n" for line in p.lines) + f"    return {last}\n"
    if rng.random() < 0.2:  # what comes before the logits is looked at through a mask
        p.held["mask"] = torch.where(torch.rand(p.values[last].shape[1:]) < 0.3, -1e9, 0.0).double()
        source = source.replace(f"return {last}", f"return {last} + m.mask")
    network = Forward(compiled(source), **p.held).eval()
    return Case(network if rng.random() < 0.5 else network.float(), p.shape, source, p.refuse)


def _tried(p: Program) -> Tensor | None:
    name = p.lines[-1].split(" = ")[0]
    source = "def forward(m, x):\n" + "".join(f"    {line}\n" for line in p.lines) + f"    return {name}\n"
    try:
        with torch.no_grad():
            value = Forward(compiled(source), **p.held).eval()(p.values["x"].clone())
    except Exception:  # the call does not fit its arguments
        return None
    fits = value.ndim in (2, 3) and len(value) == 2 and 0 < value[0].numel() <= LARGEST and value.abs().max() < 1e6
    return value if fits and value.is_floating_point() else None


def compiled(source: str) -> Callable[[nn.Module, Tensor], Tensor]:
    """The function of some source, which can be read by tracebacks."""
    file = f"<forward {abs(hash(source))}>"
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    found: dict[str, Callable[[nn.Module, Tensor], Tensor]] = {}
    exec(compile(source, file, "exec"), globals(), found)
    return found["forward"]


# --- truth -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What became of a case. ``bound``, ``truth``: None where it was refused; ``wrong``: what is false, or None."""

    bound: float | None
    truth: float | None
    wrong: str | None
    reason: str | None = None  # why it was refused


def judged(one: Case) -> Verdict:
    """Bound a network, and look for a point where it is false: its Jacobian, or its rounding errors, in float64."""
    try:
        graph = trace(one.network, one.shape)
    except LipbenchError as error:
        return Verdict(None, None, None, str(error))
    bound = graph.output.lipschitz
    if one.refuse:
        return Verdict(bound, None, "accepted, though it is no function of one sample, or rounds")
    exact = compiled_copy(one.network)
    unmasked = compiled_copy(one.network)  # beside -1e9 differences would be lost
    if "mask" in unmasked._buffers:
        unmasked.mask.zero_()
    truth, seed = 0.0, abs(hash(one.source)) % 2**31
    for number in (1, 2, 3, 5):
        generator = torch.Generator().manual_seed(seed + number)
        x = torch.randn(number, *one.shape, dtype=torch.float64, generator=generator)
        truth = max(truth, jacobian_norm(unmasked, x))
    if truth > bound * (1 + 1e-9) + 1e-12:
        return Verdict(bound, truth, f"the bound {bound:.6g} lies below the Jacobian's norm {truth:.6g}")
    return Verdict(bound, truth, wrong_errors(one, exact, graph))


def compiled_copy(network: nn.Module) -> nn.Module:
    """The network in float64."""
    return copy.deepcopy(network).double().eval()


def jacobian_norm(network: nn.Module, x: Tensor) -> float:
    """The norm of the Jacobian of each sample's outputs in that sample, the largest over a batch (n, ...)."""
    x = x.requires_grad_()
    try:
        with torch.enable_grad():
            out = network((x + 0).clone()).flatten(1)
            rows = []
            for place in range(out.shape[1]):
                (row,) = torch.autograd.grad(out[:, place].sum(), x, retain_graph=True, allow_unused=True)
                rows.append(torch.zeros_like(x).flatten(1) if row is None else row.flatten(1))
        jacobians = torch.stack(rows, dim=1)
    except RuntimeError:  # it overwrites what its gradient would need: differences, of nearly linear pieces
        with torch.no_grad():
            steps = 1e-7 * torch.eye(x[0].numel(), dtype=torch.float64).view(-1, 1, *x.shape[1:])
            at = network(x.clone()).flatten(1)
            columns = [(network((x + step).clone()).flatten(1) - at) / 1e-7 for step in steps]
        jacobians = torch.stack(columns, dim=2) * (1 - 1e-6)
    return float(torch.linalg.matrix_norm(jacobians, ord=2).max())


def wrong_errors(one: Case, exact: nn.Module, graph) -> str | None:
    """Whether float32 outputs lie further from those of float64 than the error analysis says."""
    if any(held.dtype is not torch.float32 for held in (*one.network.parameters(), *one.network.buffers())):
        return None
    x = torch.rand(4, *one.shape)
    try:
        errors = analyse(graph, x, (len(graph.steps) - 1,), 0.0, sharp=True)[0]
        loose = analyse(graph, x, (len(graph.steps) - 1,), 0.0, sharp=False)[0]
    except NotAnalysed:
        return None
    with torch.no_grad():
        apart = (one.network(x.clone()).double() - exact(x.double())).flatten(1).norm(dim=1)
    room = 1e-9 * (1 + exact(x.double()).flatten(1).norm(dim=1))
    for found in (errors, loose):
        if bool((apart > found.constant + room).any()):
            return f"rounding errors of {float(apart.max()):.3g} exceed their bound {float(found.constant.min()):.3g}"
    return None
