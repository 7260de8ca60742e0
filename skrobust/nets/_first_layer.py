"""The gradient of a first convolution with respect to its rows, which only attacks ask for.

Plain training never needs it, so libraries have not made it quick: with one or three channels in, a
CPU spends a third of an attack there. As one matrix product and a few shifted sums it costs a fifth
of that. Elsewhere (strides, groups, many channels, a GPU) torch's own is as good.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["first_convolution", "suits"]

MOST_COLUMNS = 32  # numbers of the rows that one number of the output sees


def suits(layer: nn.Module) -> bool:
    """Whether a layer is a convolution that :func:`first_convolution` computes."""
    return (
        type(layer) is nn.Conv2d
        and layer.stride == (1, 1)
        and layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
        and not isinstance(layer.padding, str)
        and layer.weight[0].numel() <= MOST_COLUMNS
        and all(0 <= p < k for p, k in zip(layer.padding, layer.kernel_size, strict=True))
    )


def first_convolution(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """``layer(x)``, with a quick gradient with respect to ``x``."""
    return _Convolution.apply(x, layer.weight, layer.bias, layer.padding)


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding) -> Tensor:
        if torch.is_autocast_enabled("cpu"):  # gradients come in this type too
            x, weight = (part.to(torch.get_autocast_dtype("cpu")) for part in (x, weight))
        ctx.save_for_backward(x, weight)
        ctx.padding, ctx.has_bias = padding, bias is not None
        return nn.functional.conv2d(x, weight, bias, padding=padding)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        of_x = of_weight = of_bias = None
        if ctx.needs_input_grad[0]:
            of_x = _gradient_of_rows(gradient, weight, x.shape, ctx.padding)
        if ctx.needs_input_grad[1]:
            mask = [False, True, False]
            _, of_weight, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [1, 1], ctx.padding, [1, 1], False, [0, 0], 1, mask
            )
        if ctx.has_bias and ctx.needs_input_grad[2]:
            of_bias = gradient.sum(dim=(0, 2, 3))
        return of_x, of_weight, of_bias, None


def _gradient_of_rows(gradient: Tensor, weight: Tensor, shape, padding) -> Tensor:
    """Each tap of the kernel sends its share of the gradient back, shifted by its place."""
    (n, channels, height, width), (high, wide) = shape, padding
    n_out, _, rows, columns = weight.shape
    flat = gradient.permute(0, 2, 3, 1).reshape(-1, n_out)
    taps = weight.reshape(n_out, -1).t() @ flat.t()
    taps = taps.to(
        torch.promote_types(taps.dtype, torch.float32)
    )  # in half precision sums are slow
    h, w = gradient.shape[2:]
    taps = taps.view(channels, rows, columns, n, h, w)
    found = taps.new_zeros(channels, n, height + 2 * high, width + 2 * wide)
    for i in range(rows):
        for j in range(columns):
            found[:, :, i : i + h, j : j + w] += taps[:, i, j]
    return found[:, :, high : high + height, wide : wide + width].transpose(0, 1)
