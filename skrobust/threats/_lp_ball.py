"""Balls of the three usual norms, with a step, bounds and exceptions per feature."""

from __future__ import annotations

import copy
import numbers
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from skrobust.exceptions import ThreatNotBoundError, invalid
from skrobust.threats._base import Threat
from skrobust.threats._geometry import Norm, find_norm
from skrobust.threats._numbers import (
    Bounds,
    Columns,
    bounds_of,
    directions_of,
    frozen_of,
    scale_of,
)
from skrobust.threats._region import BallRegion

__all__ = ["LpBall"]


class LpBall(Threat):
    """Rows move within a ball: at most ``radius`` steps, each feature with a step of its own.

    ``{z = x + scale * u : ||u||_p <= radius, low <= z <= high, frozen features as they are}``
    """

    def __init__(self, norm="linf", scale=1.0, bounds=None, frozen=None, direction=None):
        self.norm = norm
        self.scale = scale
        self.bounds = bounds
        self.frozen = frozen
        self.direction = direction

    @property
    def is_bound(self) -> bool:
        return not self._unbound()

    def bind(self, X, *, feature_names=None) -> LpBall:
        self._norm()
        columns = Columns.of(X, feature_names)
        frozen = frozen_of(self.frozen, columns)
        scale, stuck = scale_of(self.scale, columns, frozen)
        if stuck is not None:
            frozen = stuck if frozen is None else frozen | stuck
        bounds = bounds_of(self.bounds, columns)
        direction = directions_of(self.direction, columns)
        return LpBall(copy.copy(self.norm), scale, bounds, frozen, direction)

    def region(self, x: Tensor, radius: float | Tensor) -> BallRegion:
        norm = self._norm()
        unbound = self._unbound()
        if unbound:
            raise ThreatNotBoundError(
                f"{self!r} is not bound: {', '.join(unbound)} must become numbers first. "
                "Call threat.bind(X_train), or take the threat_ of a fitted estimator."
            )
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim == 0:
            raise invalid("x", x, "a tensor of floats (n, ...)", error=TypeError)
        columns = Columns(x.shape[1:])
        steps = radius_of(radius, x)
        scale, _ = scale_of(self.scale, columns, None)
        return BallRegion(norm, x, steps, _like(scale, x, down=True), self._box(x, columns))

    def _norm(self) -> Norm:
        norm = find_norm(self.norm)
        if norm is None:
            raise invalid("norm", self.norm, '"linf", "l2" or "l1" (or inf, 2, 1)')
        return norm

    def _unbound(self) -> list[str]:
        """Names of the options that are not numbers yet."""
        named = {
            "scale": isinstance(self.scale, (str, Mapping)),
            "bounds": isinstance(self.bounds, (str, Mapping)),
            "frozen": _has_names(self.frozen),
            "direction": _has_names(self.direction),
        }
        return [f"{name}={getattr(self, name)!r}" for name, yes in named.items() if yes]

    def _box(self, x: Tensor, columns: Columns) -> tuple[Tensor | None, Tensor | None]:
        """Where each entry may go, whatever the radius; a pair of None when anywhere."""
        bounds = bounds_of(self.bounds, columns)
        direction = directions_of(self.direction, columns)
        frozen = frozen_of(self.frozen, columns)
        if bounds is None and not direction and frozen is None:
            return None, None
        low, high = torch.full_like(x, -torch.inf), torch.full_like(x, torch.inf)
        if bounds is not None:
            low, high = _hold(x, _like(bounds.low, x), _like(bounds.high, x), bounds)
        for position, way in (direction or {}).items():
            side = low if way == "up" else high
            side[:, position] = x[:, position]
        if frozen is not None:
            mask = torch.as_tensor(frozen, device=x.device)
            low, high = torch.where(mask, x, low), torch.where(mask, x, high)
        return low, high


def radius_of(radius, x: Tensor) -> Tensor:
    """Radius of each row (n,) in the dtype of ``x``, rounded down."""
    hint = "radius counts steps of the threat's scale."
    if isinstance(radius, (bool, str)) or radius is None:
        raise invalid("radius", radius, "a finite number >= 0", hint, TypeError)
    try:
        given = radius if isinstance(radius, Tensor) else torch.as_tensor(np.asarray(radius, float))
        given = given.detach().to(x.device)
        given = given if x.device.type == "mps" else given.double()
    except (TypeError, ValueError, RuntimeError) as error:
        raise invalid("radius", radius, "a finite number >= 0", hint, TypeError) from error
    if given.ndim and given.shape != (len(x),):
        raise invalid(
            "radius", radius, f"one number, or one for each of the {len(x)} rows",
            "Sizes per feature go in LpBall(scale=...).",
        )  # fmt: skip
    if not bool(((given >= 0) & torch.isfinite(given)).all()):
        raise invalid("radius", radius, "a finite number >= 0", hint)
    return _rounded(given, x.dtype).expand(len(x))


def _rounded(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values >= 0 in a narrower dtype, never larger than they were."""
    narrow = values.to(dtype)
    return torch.where(narrow > values, torch.nextafter(narrow, 0 * narrow), narrow)


def _like(values, x: Tensor, down: bool = False) -> Tensor:
    """Numbers of a row as a tensor that broadcasts against ``x``, on its device."""
    values = torch.as_tensor(np.asarray(values))
    values = _rounded(values, x.dtype) if down else values.to(x.dtype)
    return values.to(x.device).reshape(1, *[1] * (x.ndim - 1 - values.ndim), *values.shape)


def _hold(x: Tensor, low: Tensor, high: Tensor, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Bounds widened to hold the rows; an error when the user gave them and a row is outside."""
    if not bounds.learned:
        # scaled columns overshoot by rounding (1.0000000000000002): that is not outside
        slack = 16 * torch.finfo(x.dtype).eps * x.abs().clamp(min=1)
        outside = (x < low - slack) | (x > high + slack)
        if bool(outside.any()):
            _complain(x, low, high, outside, bounds)
    return torch.minimum(low, x), torch.maximum(high, x)


def _complain(x: Tensor, low: Tensor, high: Tensor, outside: Tensor, bounds: Bounds) -> None:
    where = tuple(torch.nonzero(outside)[0].tolist())
    column = where[1] if len(where) > 1 else 0
    label = repr(bounds.names[column]) if bounds.names else str(column)
    ends = tuple(side.expand_as(x)[where].item() for side in (low, high))
    n_rows = int(outside.flatten(1).any(dim=1).sum())
    raise ValueError(
        f"Row {where[0]} lies outside the bounds of the threat: column {label} is "
        f"{x[where].item():g}, its bounds are [{ends[0]:g}, {ends[1]:g}] ({n_rows} of {len(x)} "
        'rows are outside). Widen bounds=, or learn them from training rows with bounds="data".'
    )


def _has_names(option) -> bool:
    if option is None or isinstance(option, (str, numbers.Number)):
        return isinstance(option, str)
    if isinstance(option, np.ndarray) and option.dtype.kind in "biuf":
        return False
    return any(isinstance(key, str) for key in option)
