"""Balls of the three usual norms, with a step, bounds and exceptions per feature."""

from __future__ import annotations

import inspect
import numbers

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from skrobust.exceptions import ThreatNotBoundError, invalid
from skrobust.threats._base import Region, Threat
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
from skrobust.threats._ruled import RuledRegion, TorchRules, check_rows
from skrobust.threats._rules import RULES, Group, held_of, is_named, rules_of, stored
from skrobust.threats._tensors import check_inside, like, radius_of

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
    integer : list of columns, boolean mask or "dtype", default=None
        What stays a whole number. ``"dtype"``: the columns that are integers in the rows given to
        :meth:`bind`; boolean ones stay 0 or 1.
    levels : dict, column -> list of values or "data", default=None
        Ordered columns that know few values (sizes, grades); moves are measured by their distance.
        ``"data"``: the values seen by :meth:`bind`.
    groups : list of lists of columns, default=None
        One-hot columns: each list has a single 1 in each row, before and after the move. A change
        of category has no length, counts against ``max_changes`` and not against ``radius`` (but
        at radius 0 nothing changes).
    categorical : list of columns, or dict, column -> list of values, default=None
        The same for a column of codes without order, or of text. A list learns the values by
        :meth:`bind`. Columns of text or of categories in a data frame stay as they are unless they
        are listed here.
    max_changes : int or None, default=1
        How many of the ``groups`` and ``categorical`` columns may change in one row; None: all.
    band : float or (low, high), default=None
        Series (n, length) or (n, channels, length): rows move by slow waves only, of frequencies
        up to ``band`` (or within the pair), as a share of the highest that the sampling allows.
    repair : dict, column -> function, or function, default=None
        Columns that follow from others. ``{"total": lambda row: row["net"] + row["tax"]}`` computes
        columns anew for each moved row; ``row[column]`` is a tensor (n,). Such columns have no
        radius of their own, but keep to their bounds. A function takes the moved rows as a tensor
        and returns valid ones of the same shape; what it changes counts against the radius. Where
        a repair breaks ball or bounds, rows go part of the way, or stay.

    A column is a name (X must then be a data frame with names) or an index along the first axis
    of a row: a column of a table, a channel of an image (n, channels, height, width). A mask has
    the shape of a row or of its last axes (times of a series, pixels). Missing values (NaN) do not
    move.

    See Also
    --------
    skrobust.threats.check_threat : Strings such as ``"l2"`` become threats.

    Notes
    -----
    Nothing is checked when the object is made; :meth:`bind` and :meth:`region` raise ValueError
    or TypeError for options that make no sense, ThreatNotBoundError for options that are not
    numbers yet. With norm, scale, bounds, frozen and direction the set is convex, and each answer
    of its :meth:`region` (projection, steepest point) is exact. The other options are rules: every
    row that an attack looks at obeys them (see ``Region.realize``), and for linf the worst case of
    linear models stays exact under all of them but ``band`` and ``repair``.

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

    Whole numbers, and one-hot columns of which a row may change one:

    >>> threat = LpBall(integer=[0], groups=[[1, 2, 3]])
    >>> region = threat.region(torch.tensor([[7.0, 1.0, 0.0, 0.0]]), radius=1.5)
    >>> region.realize(region.steepest(torch.tensor([[1.0, 0.0, 0.5, 0.9]])))
    tensor([[8., 0., 0., 1.]])
    """

    # what subclasses of fewer options have
    integer = levels = groups = categorical = band = repair = None
    max_changes = 1

    def __init__(
        self,
        norm="linf",
        scale=1.0,
        bounds=None,
        frozen=None,
        direction=None,
        integer=None,
        levels=None,
        groups=None,
        categorical=None,
        max_changes=1,
        band=None,
        repair=None,
    ):
        self.norm = norm
        self.scale = scale
        self.bounds = bounds
        self.frozen = frozen
        self.direction = direction
        self.integer = integer
        self.levels = levels
        self.groups = groups
        self.categorical = categorical
        self.max_changes = max_changes
        self.band = band
        self.repair = repair

    @property
    def is_bound(self) -> bool:
        """Whether all options are numbers (nothing left to learn from data or names)."""
        return not self._unbound()

    @property
    def ruled(self) -> bool:
        """Whether moved rows obey more than ball and box: whole numbers, groups, a band, ..."""
        return any(getattr(self, rule) is not None for rule in RULES if rule != "max_changes")

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
            bounds with low > high, rules that the rows of ``X`` themselves do not obey.

        Warns
        -----
        RobustnessWarning
            When a learned scale is 0: such columns become frozen.
        """
        self._norm()
        columns = Columns.of(X, feature_names)
        rules = rules_of(self, columns)
        text = [place for place in columns.categories if place not in rules.categorical]
        frozen = _with(frozen_of(self.frozen, columns), text, columns)
        held = held_of(frozen, rules, columns)
        scale, stuck = scale_of(self.scale, columns, held)
        if stuck is not None:
            stuck = stuck if held is None else stuck & ~(held & ~_mask(frozen, columns))
            frozen = stuck if frozen is None else frozen | stuck
        options = {
            "scale": scale,
            "bounds": bounds_of(self.bounds, columns),
            "frozen": frozen,
            "direction": directions_of(self.direction, columns),
            **stored(rules),
        }
        known = self.get_params(deep=False)
        bound = clone(self).set_params(**{name: v for name, v in options.items() if name in known})
        if rules and len(columns.values):
            bound.region(torch.as_tensor(columns.values[:1000]), 0.0)
        return bound

    @property
    def categories(self) -> dict[int, tuple]:
        """Text columns that may change, by position: their values, in the order of their codes."""
        named = self.categorical if isinstance(self.categorical, dict) else {}
        return {
            place: values
            for place, values in named.items()
            if isinstance(values, tuple) and not isinstance(place, str)
        }

    def holding(self, text: list[int]) -> LpBall:
        """The threat for rows with text at these positions: frozen, unless ``categorical``."""
        text = [place for place in text if place not in self.categories]
        if not text or self._unbound():
            return self
        held = self.frozen if self.frozen is not None else []
        if isinstance(held, np.ndarray) and held.dtype == bool:
            held = np.flatnonzero(held)
        frozen = sorted({*np.asarray(held, dtype=int).tolist(), *text})
        return clone(self).set_params(frozen=frozen)

    def region(self, x: Tensor, radius: float | Tensor) -> Region:
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
        columns = Columns(x.shape[1:])
        rules, frozen = rules_of(self, columns), frozen_of(self.frozen, columns)
        room = self._room(x, held_of(frozen, rules, columns), columns)
        ball = BallRegion(norm, x, radius_of(radius, x), room)
        if not rules:
            return ball
        free = ~_mask(frozen, columns)
        if room.down is not None and rules.band is not None:
            free &= ~np.asarray(((room.down == 0) & (room.up == 0))[0].expand(x.shape[1:]).cpu())
        region = RuledRegion(ball, TorchRules.of(rules, x, free))
        check_rows(region)
        return region

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
        named = [word for word in words if _has_names(getattr(self, word))]
        named += [rule for rule in RULES if is_named(rule, getattr(self, rule))]
        return [f"{word}={_short(getattr(self, word))}" for word in named]

    def _room(self, x: Tensor, frozen: np.ndarray | None, columns: Columns) -> Room:
        scale, _ = scale_of(self.scale, columns, frozen)
        bounds = bounds_of(self.bounds, columns)
        low = high = down = up = None
        if bounds is not None:
            low, high = like(bounds.low, x), like(bounds.high, x)
            if not bounds.learned:
                check_inside(x, low, high, bounds)
        ways = ways_of(frozen, directions_of(self.direction, columns), columns)
        if ways is not None:
            down, up = like(ways[0], x), like(ways[1], x)
        return Room(like(scale, x, down=True), low, high, down, up)


def _with(frozen: np.ndarray | None, places: list[int], columns: Columns) -> np.ndarray | None:
    """The mask with some columns more."""
    if not places:
        return frozen
    mask = _mask(frozen, columns).copy()
    mask[places] = True
    return mask


def _mask(frozen: np.ndarray | None, columns: Columns) -> np.ndarray:
    return np.zeros(columns.shape, dtype=bool) if frozen is None else frozen


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
    if isinstance(value, tuple) and value and isinstance(value[0], Group):
        return repr([list(group.columns) for group in value])
    if isinstance(value, dict) and any(isinstance(part, np.ndarray) for part in value.values()):
        value = {key: part.tolist() for key, part in value.items()}
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
