"""Functions of single entries: activations, their images and the lines around them.

Between the ends of an interval a curve is enclosed by two lines. Their slope is that of the chord,
their height the extremes of ``f(x) - slope x``, which lie at the ends, at kinks, or where the
derivative equals the slope. Between two turning points (where ``f''`` changes its sign) that is once
at most, and bisection finds it: its error counts squared. So any curve is a record of its function,
its derivative, its turning points, its dips and its kinks.

The intervals of SiLU and GELU are *not* those of their end points: their minima lie inside.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from skrobust.bounds._graph import Box, Op, Shape, finite

__all__ = ["CURVES", "Curve", "Fill", "Hinge", "Lines", "Staircase", "softplus"]

HALVINGS = 30


class Lines(NamedTuple):
    """``low_slope x + low_height <= f(x) <= high_slope x + high_height``, entry by entry."""

    low_slope: Tensor
    low_height: Tensor
    high_slope: Tensor
    high_height: Tensor


class Entrywise(Op):
    """A function of single entries, enclosed by lines."""

    def lines(self, box: Box) -> Lines:
        """Two level lines, unless a class knows better."""
        image = self.interval(box)
        level = torch.zeros_like(image.low)
        return Lines(level, image.low, level, image.high)

    def pull(self, weight, shapes, boxes=None):
        lines = self.lines(boxes[0])
        up = weight.clamp(min=0)
        extra = (lines.low_slope - lines.high_slope)[:, None]
        pulled = torch.addcmul(weight * lines.high_slope[:, None], up, extra)
        low, high = finite(lines.low_height), finite(lines.high_height)
        constant = _total(up, low) + _total(weight.clamp(max=0), high)
        return [pulled], constant


def _total(weight: Tensor, height: Tensor) -> Tensor | float:
    """``<weight, height>``, (n, m)."""
    if not height.any():
        return 0.0
    weight, height = weight.flatten(2), height.flatten(1)
    if len(weight) == 1:
        return height @ weight[0].T
    return (weight @ height[:, :, None])[:, :, 0]


@dataclass(frozen=True)
class Curve(Entrywise):
    """A continuous function of single entries.

    ``slope`` is the derivative (None: constant between kinks), ``steepest`` a Lipschitz constant.
    ``turns``: where the derivative stops rising or falling; ``dips``: where the function itself
    does; ``kinks``: where the derivative jumps. Beyond ``reach`` the curve is straight to the last
    digit. ``level`` inverts the derivative where a formula does. ``lowered`` is how far the layer
    itself, ``given``, may lie below ``f`` (torch's softplus is cut off).
    """

    f: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor] | None
    steepest: float
    turns: tuple[float, ...] = ()
    dips: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()
    reach: float = 40.0
    level: Callable[[Tensor], Tensor] | None = None
    lowered: float = 0.0
    given: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return (self.given or self.f)(x)

    def interval(self, *boxes: Box) -> Box:
        (box,) = boxes
        ends = self.f(box.low), self.f(box.high)
        low, high = torch.minimum(*ends), torch.maximum(*ends)
        for dip in self.dips:
            inside = (box.low < dip) & (box.high > dip)
            value = self.f(torch.full_like(low[:1], dip))
            low = torch.where(inside, torch.minimum(low, value), low)
            high = torch.where(inside, torch.maximum(high, value), high)
        return Box(low - self.lowered, high)

    def lines(self, box: Box) -> Lines:
        low, high = box
        ends = self.f(low), self.f(high)
        width = high - low
        wide = width > 1e-9 * (1 + low.abs())  # a chord over less is all rounding
        slope = torch.where(wide, ends[1] - ends[0], 0.0) / torch.where(wide, width, 1.0)
        flat = ~torch.isfinite(slope)
        slope = torch.where(flat, 0.0, slope)
        heights = [ends[0] - slope * low, ends[1] - slope * high]
        for x in [*self._level(slope, low, high), *(torch.full_like(low, k) for k in self.kinks)]:
            x = torch.minimum(torch.maximum(x, low), high)
            heights.append(self.f(x) - slope * x)
        bottom, top = _least(heights), -_least([-height for height in heights])
        image = self.interval(box)
        bottom = torch.where(flat, image.low, bottom - self.lowered)
        return Lines(slope, bottom, slope, torch.where(flat, image.high, top))

    def stretch(self, shapes: Sequence[Shape]) -> float:
        return self.steepest

    def _level(self, slope: Tensor, low: Tensor, high: Tensor) -> list[Tensor]:
        """Points where the derivative equals the slope, one for each stretch between turns."""
        if self.level is not None:
            return [self.level(slope)]
        if self.slope is None:
            return []
        walls = [-self.reach, *self.turns, self.reach]
        found = []
        for left, right in pairwise(walls):
            a, b = low.clamp(left, right), high.clamp(left, right)
            rises = self.slope(a) < self.slope(b)
            for _ in range(HALVINGS):
                middle = (a + b) / 2
                right_of = (self.slope(middle) > slope) == rises
                a, b = torch.where(right_of, a, middle), torch.where(right_of, middle, b)
            found.append((a + b) / 2)
        return found


def _least(values: list[Tensor]) -> Tensor:
    return torch.stack(values).amin(dim=0)


@dataclass(frozen=True)
class Hinge(Entrywise):
    """``max(x, 0) + below * min(x, 0)``: ReLU and its leaky forms.

    The free line on the far side of the chord has one of the two slopes, whichever leaves the
    smaller triangle (Zhang et al. 2018, CROWN).
    """

    below: float = 0.0

    def forward(self, x: Tensor) -> Tensor:
        if self.below == 0:
            return x.clamp(min=0)
        return x.clamp(min=0) + self.below * x.clamp(max=0)

    def interval(self, *boxes: Box) -> Box:
        ends = [self.forward(end) for end in boxes[0]]
        if self.below >= 0:
            return Box(*ends)
        low = torch.where((boxes[0].low < 0) & (boxes[0].high > 0), 0.0, torch.minimum(*ends))
        return Box(low, torch.maximum(*ends))

    def lines(self, box: Box) -> Lines:
        low, high = box
        split = (low < 0) & (high > 0)
        ends = self.forward(low), self.forward(high)
        chord = (ends[1] - ends[0]) / torch.where(split, high - low, 1.0)
        infinite = split & ~torch.isfinite(chord)
        one, below = torch.ones_like(low), torch.full_like(low, self.below)
        one_side = torch.where(low >= 0, one, below)
        chord = torch.where(split, torch.where(infinite, 0.0, chord), one_side)
        height = torch.where(split, ends[0] - chord * low, 0.0)
        height = torch.where(infinite, math.inf if self.below <= 1 else -math.inf, height)
        free = torch.where(split, torch.where(high > -low, one, below), one_side)
        level = torch.zeros_like(free)
        if self.below <= 1:
            return Lines(free, level, chord, height)
        return Lines(chord, height, free, level)

    def stretch(self, shapes: Sequence[Shape]) -> float:
        return max(1.0, abs(self.below))


class Staircase(Entrywise):
    """A function of single entries that never falls, and is otherwise anything: steps."""

    def __init__(self, function: Callable[[Tensor], Tensor]):
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def interval(self, *boxes: Box) -> Box:
        return Box(*map(self.function, boxes[0]))


class Fill(Entrywise):
    """Missing entries get a number each; what is missing stays so, which makes it exact."""

    straight = True

    def __init__(self, values: Tensor):
        self.values = values

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x.isnan(), self.values.to(x.dtype), x)

    def interval(self, *boxes: Box) -> Box:
        return Box(*map(self.forward, boxes[0]))

    def lines(self, box: Box) -> Lines:
        missing = box.low.isnan()
        slope = (~missing).to(box.low.dtype)
        height = torch.where(missing, self.values.to(slope.dtype), 0.0)
        return Lines(slope, height, slope, height)


# The curves themselves ----------------------------------------------------------------------------

_SQRT2, _SQRT2PI = math.sqrt(2.0), math.sqrt(2.0 * math.pi)


def _bell(x: Tensor) -> Tensor:
    return torch.exp(-0.5 * x.square()) / _SQRT2PI


def _erf_share(x: Tensor) -> Tensor:
    return 0.5 * torch.erfc(-x / _SQRT2)


def _silu_slope(x: Tensor) -> Tensor:
    share = torch.sigmoid(x)
    return share + x * share * torch.sigmoid(-x)


def _sigmoid_slope(x: Tensor) -> Tensor:
    return torch.sigmoid(x) * torch.sigmoid(-x)


def _tanh_slope(x: Tensor) -> Tensor:
    return 4 * _sigmoid_slope(2 * x)


def _gelu_tanh_inner(x: Tensor) -> tuple[Tensor, Tensor]:
    c = math.sqrt(2 / math.pi)
    return c * (x + 0.044715 * x**3), c * (1 + 3 * 0.044715 * x.square())


def _gelu_tanh_slope(x: Tensor) -> Tensor:
    x = x.clamp(-30, 30)  # flat beyond; the cube of a large x is infinite
    inner, rate = _gelu_tanh_inner(x)
    return 0.5 * (1 + torch.tanh(inner)) + 0.5 * x * _tanh_slope(inner) * rate


def _root(f: Callable[[Tensor], Tensor], low: float, high: float) -> float:
    """Where a function that falls below 0 and rises above it (or the reverse) is 0."""
    a, b = (torch.tensor(end, dtype=torch.float64) for end in (low, high))
    rises = f(a) < f(b)
    for _ in range(80):
        middle = (a + b) / 2
        a, b = (a, middle) if (f(middle) > 0) == rises else (middle, b)
    return float((a + b) / 2)


def _bend(slope: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    return lambda x: slope(x + 1e-4) - slope(x - 1e-4)


def _around_zero(x: Tensor) -> Tensor:
    """SiLU, which torch computes as 0 times infinity at minus infinity."""
    return torch.where(x == -torch.inf, 0.0, nn.functional.silu(x))


SILU = Curve(
    _around_zero,
    lambda x: _silu_slope(x.clamp(-700, 700)),
    1.0999,
    turns=(-2.399357280520173, 2.399357280520173),
    dips=(_root(_silu_slope, -2.0, -1.0),),
)
GELU = Curve(
    lambda x: torch.where(x == -torch.inf, 0.0, nn.functional.gelu(x)),
    lambda x: _erf_share(x) + x.clamp(-40, 40) * _bell(x),
    1.1290,
    turns=(-_SQRT2, _SQRT2),
    dips=(_root(lambda x: _erf_share(x) + x * _bell(x), -1.0, -0.5),),
)
_TURN = _root(_bend(_gelu_tanh_slope), 1.0, 2.0)
GELU_TANH = Curve(
    lambda x: torch.where(x == -torch.inf, 0.0, nn.functional.gelu(x, approximate="tanh")),
    _gelu_tanh_slope,
    1.1300,
    turns=(-_TURN, _TURN),
    dips=(_root(_gelu_tanh_slope, -1.0, -0.5),),
)
TANH = Curve(torch.tanh, _tanh_slope, 1.0, turns=(0.0,))
SIGMOID = Curve(torch.sigmoid, _sigmoid_slope, 0.25, turns=(0.0,))
LOG_SIGMOID = Curve(nn.functional.logsigmoid, lambda x: torch.sigmoid(-x), 1.0)
EXP = Curve(torch.exp, None, math.inf, level=lambda slope: slope.clamp(min=1e-300).log())
SQUARE = Curve(torch.square, None, math.inf, dips=(0.0,), level=lambda slope: slope / 2)
ABS = Hinge(-1.0)


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Curve:
    """Softplus; torch goes over to ``x`` beyond the threshold, which lies a little lower."""
    return Curve(
        lambda x: nn.functional.softplus(x, beta, 700.0),
        lambda x: torch.sigmoid(beta * x),
        1.0,
        reach=40.0 / beta,
        lowered=1.01 * math.log1p(math.exp(-threshold)) / beta,
        given=lambda x: nn.functional.softplus(x, beta, threshold),
    )


def elu(alpha: float, scale: float = 1.0) -> Entrywise:
    """``scale * (x if x > 0 else alpha (e^x - 1))``, alpha >= 0."""
    f = lambda x: scale * torch.where(x > 0, x, alpha * torch.expm1(x.clamp(max=0)))
    if alpha > 1:  # neither convex nor smooth
        return Staircase(f)
    slope = lambda x: scale * torch.where(x > 0, 1.0, alpha * torch.exp(x.clamp(max=0)))
    return Curve(f, slope, scale, kinks=(0.0,))


def clip(low: float, high: float) -> Curve:
    """``min(max(x, low), high)``."""
    kinks = tuple(end for end in (low, high) if math.isfinite(end))
    return Curve(lambda x: x.clamp(low, high), None, 1.0, kinks=kinks)


CURVES: dict[type, Callable[[nn.Module], Op]] = {
    nn.ReLU: lambda layer: Hinge(),
    nn.LeakyReLU: lambda layer: Hinge(layer.negative_slope),
    nn.ReLU6: lambda layer: clip(0.0, 6.0),
    nn.Hardtanh: lambda layer: clip(layer.min_val, layer.max_val),
    nn.ELU: lambda layer: elu(layer.alpha),
    nn.SELU: lambda layer: elu(1.6732632423543772, 1.0507009873554805),
    nn.SiLU: lambda layer: SILU,
    nn.GELU: lambda layer: GELU if layer.approximate == "none" else GELU_TANH,
    nn.Tanh: lambda layer: TANH,
    nn.Sigmoid: lambda layer: SIGMOID,
    nn.LogSigmoid: lambda layer: LOG_SIGMOID,
    nn.Softplus: lambda layer: softplus(layer.beta, layer.threshold),
}
