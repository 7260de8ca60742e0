"""Numbers become tensors that fit the rows, and rows are held against bounds."""

from __future__ import annotations

import math
import numbers

import numpy as np
import torch
from torch import Tensor

from skrobust.exceptions import invalid
from skrobust.threats._numbers import Bounds

__all__ = ["check_inside", "like", "radius_of"]


def radius_of(radius, x: Tensor) -> Tensor:
    """Radius of each row (n,) in the dtype of ``x``, rounded down."""
    hint = "radius counts steps of the threat's scale."
    if isinstance(radius, numbers.Real) and not isinstance(radius, (bool, np.bool_)):
        if not 0 <= radius < math.inf:
            raise invalid("radius", radius, "a finite number >= 0", hint)
        given = torch.tensor([float(radius)], dtype=torch.float64)
        return _rounded(given, x.dtype).to(x.device).expand(len(x))
    given = _numbers_of(radius)
    if given is None or given.is_complex() or given.dtype == torch.bool:
        raise invalid("radius", radius, "a finite number >= 0", hint, TypeError)
    if given.ndim and given.shape != (len(x),):
        raise invalid(
            "radius", radius, f"one number, or one for each of the {len(x)} rows",
            "Sizes per feature go in LpBall(scale=...).",
        )  # fmt: skip
    if not bool(((given >= 0) & torch.isfinite(given)).all()):
        raise invalid("radius", radius, "finite numbers >= 0", hint)
    given = given if given.is_floating_point() else given.to(x.dtype)
    return _rounded(given, x.dtype).to(x.device).expand(len(x))


def _numbers_of(values) -> Tensor | None:
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
        return torch.as_tensor(array) if array.dtype.kind in "iufb" else None
    except (TypeError, ValueError):
        return None


def _rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values >= 0 in another dtype, never larger than they were."""
    narrow = values.to(dtype)
    if torch.finfo(dtype).bits >= torch.finfo(values.dtype).bits:
        return narrow
    return torch.where(narrow > values, torch.nextafter(narrow, 0 * narrow), narrow)


def like(values, x: Tensor, down: bool = False) -> Tensor:
    """Numbers of a row as a tensor that broadcasts against ``x``, on its device."""
    values = torch.as_tensor(np.asarray(values))
    values = _rounded(values, x.dtype) if down else values.to(x.dtype)
    return values.to(x.device).reshape(1, *[1] * (x.ndim - 1 - values.ndim), *values.shape)


def check_inside(x: Tensor, low: Tensor, high: Tensor, bounds: Bounds) -> None:
    """Raise for rows outside; scaled columns overshoot by rounding, and that is not outside."""
    if not x.numel() or bool(((x.amin(0) >= low) & (x.amax(0) <= high)).all()):
        return
    slack = 16 * torch.finfo(x.dtype).eps * x.abs().clamp(min=1)
    outside = (x < low - slack) | (x > high + slack)
    if bool(outside.any()):
        _complain(x, low, high, outside, bounds)


def _complain(x: Tensor, low: Tensor, high: Tensor, outside: Tensor, bounds: Bounds) -> None:
    where = tuple(torch.nonzero(outside)[0].tolist())
    label = repr(bounds.names[where[1]]) if bounds.names else str(where[1])
    ends = tuple(side.expand_as(x)[where].item() for side in (low, high))
    n_rows = int(outside.flatten(1).any(dim=1).sum())
    raise ValueError(
        f"Row {where[0]} lies outside the bounds of the threat: column {label} is "
        f"{x[where].item():g}, its bounds are [{ends[0]:g}, {ends[1]:g}] ({n_rows} of {len(x)} "
        'rows are outside). Widen bounds=, or learn them from training rows with bounds="data".'
    )
