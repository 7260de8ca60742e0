"""Balls of the three usual norms, with a step, bounds and exceptions per feature."""

from __future__ import annotations

import inspect
import math
import numbers

import numpy as np
import torch
from sklearn.base import clone
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
    ways_of,
)
from skrobust.threats._region import BallRegion, Room

__all__ = ["LpBall"]


class LpBall(Threat):
    """Rows move within a ball: at most ``radius`` steps, with a step of its own for each feature.

    ``{z = x + scale * u : ||u||_p <= radius,  low <= z <= high,  frozen features as they are}``

    Parameters
    ----------
    norm : {"linf", "l2", "l1", inf, 2, 1}, default="linf"
        How movements of several features add up: ``"linf"`` every feature may move by ``radius``
        steps at once; ``"l2"`` the euclidean length is limited; ``"l1"`` the sum is.
    scale : float, array, dict or {"std", "iqr", "range"}, default=1.0
        One step of each feature, in the units of ``X``; > 0. An array has the shape of one row
        (or broadcasts to it); a dict, column -> step, names every column that is not frozen. A
        word is learned by :meth:`bind`: standard deviation, interquartile range, or max - min.
    bounds : None, (low, high), dict or "data", default=None
        Where rows must stay, in the units of ``X``: numbers or arrays (None means no bound on
        that side), a dict, column -> (low, high), or the smallest and largest values seen by
        :meth:`bind`. Learned bounds widen to hold a row that lies outside them; bounds that were
        given make such a row an error.
    frozen : list of columns or boolean mask of the shape of one row, default=None
        What cannot be moved at all.
    direction : dict, column -> "up" or "down", default=None
        Columns that may only grow or only fall.

    A column is a name (X must then be a data frame with names) or an index along the first axis
    of a row: a column of a table, a channel of an image (n, channels, height, width). Missing
    values (NaN) do not move.

    See Also
    --------
    skrobust.threats.check_threat : Strings such as ``"l2"`` become threats.

    Notes
    -----
    Nothing is checked when the object is made; :meth:`bind` and :meth:`region` raise ValueError
    or TypeError for options that make no sense, ThreatNotBoundError for options that are not
    numbers yet. The set is convex, and each answer of its :meth:`region` (projection, steepest
    point) is exact, with bounds, frozen features and directions taken into account.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from skrobust.threats import LpBall
    >>> X = np.array([[20.0, 1000.0], [40.0, 3000.0], [60.0, 2000.0]])
    >>> threat = LpBall(scale="range", bounds="data", frozen=[0]).bind(X)
    >>> threat
    LpBall(scale=<2 numbers>, bounds=<learned>, frozen=<1 of 2>)
    >>> region = threat.region(torch.tensor(X), radius=0.1)
    >>> region.steepest(torch.ones(3, 2))  # steps of 2000 for the second column, at most 3000
    tensor([[  20., 1200.],
            [  40., 3000.],
            [  60., 2200.]], dtype=torch.float64)
    >>> LpBall("l2").region(torch.zeros(1, 2), radius=5.0).project(torch.tensor([[30.0, 40.0]]))
    tensor([[3.0000, 4.0000]])
    """

    def __init__(self, norm="linf", scale=1.0, bounds=None, frozen=None, direction=None):
        self.norm = norm
        self.scale = scale
        self.bounds = bounds
        self.frozen = frozen
        self.direction = direction

    @property
    def is_bound(self) -> bool:
        """Whether all options are numbers (nothing left to learn from data or names)."""
        return not self._unbound()

    def bind(self, X, *, feature_names=None) -> LpBall:
        """A copy whose words and names have become numbers; the threat itself stays as it is.

        Parameters
        ----------
        X : array or data frame of shape (n, ...)
            Training rows. NaN is skipped.
        feature_names : list of str, optional
            Names of the columns, where X has none.

        Returns
        -------
        LpBall
            Its parameters are numbers, arrays and masks, so that ``sklearn.base.clone`` keeps it
            bound; binding it again changes nothing.

        Raises
        ------
        ValueError, TypeError
            For unknown names, arrays that do not fit a row of ``X``, steps that are not > 0,
            bounds with low > high.

        Warns
        -----
        RobustnessWarning
            When a learned scale is 0: such columns become frozen.
        """
        self._norm()
        columns = Columns.of(X, feature_names)
        frozen = frozen_of(self.frozen, columns)
        scale, stuck = scale_of(self.scale, columns, frozen)
        if stuck is not None:
            frozen = stuck if frozen is None else frozen | stuck
        bounds = bounds_of(self.bounds, columns)
        direction = directions_of(self.direction, columns)
        return clone(self).set_params(
            scale=scale, bounds=bounds, frozen=frozen, direction=direction
        )

    def region(self, x: Tensor, radius: float | Tensor) -> BallRegion:
        """Where each row of ``x`` (n, ...) may go.

        Parameters
        ----------
        x : Tensor of floats of shape (n, ...)
        radius : float or Tensor of shape (n,)
            How far, in steps of ``scale``; finite and >= 0.

        Raises
        ------
        ThreatNotBoundError
            When an option is still a word or a name (see :meth:`bind`).
        ValueError
            For a row outside bounds that were given, and for a radius that is no radius.
        """
        norm, unbound = self._norm(), self._unbound()
        if unbound:
            raise ThreatNotBoundError(
                f"{', '.join(unbound)} must become numbers before rows can move: call "
                "threat.bind(X_train), or take the threat_ of a fitted estimator."
            )
        if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim < 2:
            given = f"{type(x).__name__} {getattr(x, 'dtype', '')} {np.shape(x)}"
            raise invalid("x", given, "a tensor of floats (n, ...)", error=TypeError)
        return BallRegion(norm, x, radius_of(radius, x), self._room(x))

    def __repr__(self, N_CHAR_MAX=700) -> str:
        shown = [
            f"{name}={_short(getattr(self, name))}"
            for name, parameter in inspect.signature(type(self)).parameters.items()
            if not _same(getattr(self, name), parameter.default)
        ]
        return f"{type(self).__name__}({', '.join(shown)})"

    def _norm(self) -> Norm:
        norm = find_norm(self.norm)
        if norm is None:
            raise invalid("norm", self.norm, '"linf", "l2" or "l1" (or inf, 2, 1)')
        return norm

    def _unbound(self) -> list[str]:
        """The options that are not numbers yet, as text."""
        words = ("scale", "bounds", "frozen", "direction")
        return [f"{w}={_short(getattr(self, w))}" for w in words if _has_names(getattr(self, w))]

    def _room(self, x: Tensor) -> Room:
        columns = Columns(x.shape[1:])
        frozen = frozen_of(self.frozen, columns)
        scale, _ = scale_of(self.scale, columns, frozen)
        bounds = bounds_of(self.bounds, columns)
        low = high = down = up = None
        if bounds is not None:
            low, high = _like(bounds.low, x), _like(bounds.high, x)
            if not bounds.learned:
                _check_inside(x, low, high, bounds)
        ways = ways_of(frozen, directions_of(self.direction, columns), columns)
        if ways is not None:
            down, up = _like(ways[0], x), _like(ways[1], x)
        return Room(_like(scale, x, down=True), low, high, down, up)


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


def _like(values, x: Tensor, down: bool = False) -> Tensor:
    """Numbers of a row as a tensor that broadcasts against ``x``, on its device."""
    values = torch.as_tensor(np.asarray(values))
    values = _rounded(values, x.dtype) if down else values.to(x.dtype)
    return values.to(x.device).reshape(1, *[1] * (x.ndim - 1 - values.ndim), *values.shape)


def _check_inside(x: Tensor, low: Tensor, high: Tensor, bounds: Bounds) -> None:
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


def _has_names(option) -> bool:
    """Whether an option speaks of names or is a word."""
    if isinstance(option, str):
        return True
    if option is None or isinstance(option, (numbers.Number, Bounds)) or not np.iterable(option):
        return False
    if isinstance(option, np.ndarray) and option.dtype.kind in "biuf":
        return False
    return any(isinstance(key, str) for key in option)


def _same(value, default) -> bool:
    return value is default or isinstance(value, (str, numbers.Number)) and value == default


def _short(value) -> str:
    """Arrays by their size, anything else as it is written."""
    if isinstance(value, Bounds):
        return "<learned>" if value.learned else "<given>"
    if isinstance(value, np.ndarray):
        if value.dtype == bool:
            return f"<{int(value.sum())} of {value.size}>"
        return f"<{value.size} numbers>"
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
