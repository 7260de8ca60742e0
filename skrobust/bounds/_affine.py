"""Affine steps: dense layers, convolutions, averages, normalisation, sums, rearrangements."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from skrobust.bounds._graph import Box, Op, Shape

__all__ = ["Add", "Affine", "BatchNorm", "Cat", "Conv", "Dense", "Rearrange", "Reshape", "Scale"]


class Affine(Op):
    """``x -> W x + b``; the interval image is ``W c + b +- |W| r`` (Gowal et al. 2018)."""

    affine = True
    mixes = True
    straight = True

    @abstractmethod
    def spread(self, *radii: Tensor) -> Tensor:
        """``|W| r``."""

    def interval(self, *boxes: Box) -> Box:
        centers = [(box.low + box.high) / 2 for box in boxes]
        middle = self.forward(*centers)
        reach = self.spread(*((box.high - box.low) / 2 for box in boxes))
        low, high = middle - reach, middle + reach
        if bool(low.detach().sum().isfinite()):  # as good as always
            return Box(low, high)
        # the middle of infinite ends is no number: nothing is known
        return Box(_known(low, -torch.inf), _known(high, torch.inf))

    def pull(self, weight, shapes, boxes=None):
        flat, live = weight.flatten(0, 1), torch.is_grad_enabled()
        with torch.enable_grad():
            inputs = [flat.new_zeros(len(flat), *shape).requires_grad_() for shape in shapes]
            output = self.forward(*inputs)
            pulled = torch.autograd.grad(output, inputs, flat, create_graph=live)
        output = output if live else output.detach()
        constant = (flat * output).flatten(1).sum(1).view(weight.shape[:2])
        return [p.view(*weight.shape[:2], *p.shape[1:]) for p in pulled], constant

    def stretch(self, shapes: Sequence[Shape]) -> float:
        """``||W||_2 <= sqrt(||W||_1 ||W||_inf)``, exact where the matrix is small."""
        (shape,) = shapes
        with torch.no_grad():
            ones = torch.ones(1, *shape, dtype=torch.float64)
            rows = self.spread(ones)
            if ones.numel() * rows.numel() <= 2**20:
                eye = torch.eye(ones.numel(), dtype=torch.float64).view(-1, *shape)
                matrix = (self.forward(eye) - self.forward(0 * eye)).flatten(1)
                return float(torch.linalg.matrix_norm(matrix, 2)) * (1 + 1e-12)
            (columns,), _ = _Absolute(self).pull(torch.ones_like(rows)[:, None], [shape])
        return float((rows.max() * columns.max()).sqrt()) * (1 + 1e-12)


class _Absolute(Affine):
    """``x -> |W| x``."""

    def __init__(self, op: Affine):
        self.op = op

    def forward(self, x: Tensor) -> Tensor:
        return self.op.spread(x)

    def spread(self, r: Tensor) -> Tensor:
        return self.op.spread(r)


class Dense(Affine):
    """A matrix on the last axis; ``layer`` has ``weight`` (out, in) and ``bias`` or None."""

    def __init__(self, layer: nn.Module):
        self.layer = layer

    def _bias(self, x: Tensor) -> Tensor | None:
        return None if self.layer.bias is None else self.layer.bias.to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(x, self.layer.weight.to(x.dtype), self._bias(x))

    def spread(self, r: Tensor) -> Tensor:
        return nn.functional.linear(r, self.layer.weight.to(r.dtype).abs())

    def pull(self, weight, shapes, boxes=None):
        bias = self._bias(weight)
        constant = None if bias is None else weight @ bias
        if constant is not None and constant.ndim > 2:
            constant = constant.flatten(2).sum(2)
        return [weight @ self.layer.weight.to(weight.dtype)], constant


class Conv(Affine):
    """A convolution in one or two dimensions, however padded."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d):
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        bias = None if self.layer.bias is None else self.layer.bias.to(x.dtype)
        return self.layer._conv_forward(x, self.layer.weight.to(x.dtype), bias)

    def spread(self, r: Tensor) -> Tensor:
        return self.layer._conv_forward(r, self.layer.weight.to(r.dtype).abs(), None)


class Rearrange(Affine):
    """A linear map without negative weights: an average, a choice, another shape."""

    def __init__(self, function: Callable[[Tensor], Tensor], mixes: bool = False):
        self.function, self.mixes = function, mixes

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)

    def spread(self, r: Tensor) -> Tensor:
        return self.function(r)

    def interval(self, *boxes: Box) -> Box:
        return Box(*map(self.function, boxes[0]))


class Reshape(Rearrange):
    """The same entries in another shape."""

    def pull(self, weight, shapes, boxes=None):
        return [weight.reshape(*weight.shape[:2], *shapes[0])], None


class Scale(Affine):
    """``x -> factor * x + offset`` entry by entry; functions of the rows' type give the numbers."""

    mixes = False

    def __init__(self, factor, offset=0.0):
        self._factor, self._offset = factor, offset

    def factor(self, x: Tensor):
        return _in_type(self._factor, x)

    def offset(self, x: Tensor):
        return _in_type(self._offset, x)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor(x) + self.offset(x)

    def spread(self, r: Tensor) -> Tensor:
        factor = self.factor(r)
        return r * (factor.abs() if isinstance(factor, Tensor) else abs(factor))

    def interval(self, *boxes: Box) -> Box:
        ends = [self.forward(end) for end in boxes[0]]
        return Box(torch.minimum(*ends), torch.maximum(*ends))

    def pull(self, weight, shapes, boxes=None):
        factor, offset = self.factor(weight), self.offset(weight)
        if not isinstance(offset, Tensor):
            constant = offset * weight.flatten(2).sum(2) if offset else None
        else:
            constant = weight.flatten(2) @ _row(offset, shapes[0]).flatten()
        return [
            weight * (_row(factor, shapes[0]) if isinstance(factor, Tensor) else factor)
        ], constant

    def stretch(self, shapes: Sequence[Shape]) -> float:
        factor = self.factor(torch.zeros(1, dtype=torch.float64))
        return float(torch.as_tensor(factor).abs().max())


def _known(ends: Tensor, unknown: float) -> Tensor:
    return torch.nan_to_num(ends, nan=unknown, posinf=torch.inf, neginf=-torch.inf)


def _in_type(value, x: Tensor):
    return value.to(x.dtype) if isinstance(value, Tensor) else value


def _row(values: Tensor, shape: Shape) -> Tensor:
    """Numbers that broadcast against rows (n, *shape), for weights (n, m, *shape)."""
    if values.ndim > len(shape):  # written for a batch: (1, *shape)
        values = values.reshape(values.shape[-len(shape) :])
    return values.expand(shape)


class BatchNorm(Scale):
    """Normalisation by the statistics seen in training, one per channel."""

    def __init__(self, layer: nn.Module, n_axes: int):
        self.layer, self.n_axes = layer, n_axes

    def factor(self, x: Tensor) -> Tensor:
        layer = self.layer
        factor = (layer.running_var.to(x.dtype) + layer.eps).rsqrt()
        return self._channels(factor if layer.weight is None else factor * layer.weight.to(x.dtype))

    def offset(self, x: Tensor) -> Tensor:
        offset = -self.layer.running_mean.to(x.dtype).view(-1, *[1] * (self.n_axes - 1))
        offset = offset * self.factor(x)
        if self.layer.bias is None:
            return offset
        return offset + self._channels(self.layer.bias.to(x.dtype))

    def _channels(self, values: Tensor) -> Tensor:
        return values.view(-1, *[1] * (self.n_axes - 1))


class Add(Affine):
    """``a + sign * b``: residual connections."""

    mixes = False

    def __init__(self, sign: float = 1.0):
        self.sign = sign

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        return a + self.sign * b

    def spread(self, a: Tensor, b: Tensor) -> Tensor:
        return a + abs(self.sign) * b

    def interval(self, *boxes: Box) -> Box:
        one, other = boxes
        ends = [self.sign * end for end in other]
        ends = ends if self.sign >= 0 else ends[::-1]
        return Box(one.low + ends[0], one.high + ends[1])

    def pull(self, weight, shapes, boxes=None):
        return [weight, self.sign * weight], None

    def stretch(self, shapes: Sequence[Shape]) -> float:
        return max(1.0, abs(self.sign))  # of each input; the paths add up


class Cat(Affine):
    """Several outputs side by side, along the first axis of a row."""

    mixes = False

    def forward(self, *xs: Tensor) -> Tensor:
        return torch.cat(xs, dim=1)

    def spread(self, *radii: Tensor) -> Tensor:
        return torch.cat(radii, dim=1)

    def interval(self, *boxes: Box) -> Box:
        return Box(*(torch.cat(ends, dim=1) for ends in zip(*boxes, strict=True)))

    def pull(self, weight, shapes, boxes=None):
        return list(weight.split([shape[0] for shape in shapes], dim=2)), None

    def stretch(self, shapes: Sequence[Shape]) -> float:
        return 1.0
