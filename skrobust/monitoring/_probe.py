"""What a model makes of rows: its answers, how near its boundary they lie, how suspicious they are."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.covariance import LedoitWolf

from skrobust._torch import to_numpy, to_tensor
from skrobust.exceptions import invalid
from skrobust.metrics._rows import Rows, quiet_names
from skrobust.metrics._tasks import is_regression
from skrobust.metrics._view import torch_view
from skrobust.monitoring._slopes import Pushes, lead, map_of, slope_of
from skrobust.threats import BallRegion, LpBall, Threat

__all__ = ["Answers", "Margins", "Probe", "Shape"]

SMALL = 10_000  # numbers that a model is made of
FAR = 1e6  # steps to a boundary that no slope leads to
SHAKES = 0.05, 0.1, 0.2  # one random place each, within so much of the radius, without a slope


class Answers(NamedTuple):
    """Per row: class numbers (n,) and class scores, or predicted values (n, k) twice."""

    answer: np.ndarray
    score: np.ndarray


class Margins(NamedTuple):
    """Per row.

    ``distance``: to the boundary, in steps of the threat, to first order (without a gradient: the
    gap between the two best scores); of a regressor minus how far the output moves within the
    radius. ``near``: 1 if one gradient step (or a random one) within the radius changes the class,
    0 if not, NaN where nobody asked. ``push``: the movement within the radius that speaks most for
    the present answer. ``drop``, without a gradient: by how much the score of the answer falls at random
    places close by.
    """

    distance: np.ndarray
    near: np.ndarray
    push: np.ndarray | None = None
    drop: np.ndarray | None = None


class Shape(NamedTuple):
    """Centre, scale and precision of rows, for telling what lies off the data."""

    center: np.ndarray
    scale: np.ndarray
    precision: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> Shape:
        flat = values.reshape(len(values), -1)
        with np.errstate(all="ignore"):
            center = np.nan_to_num(np.nanmean(flat, axis=0))
            scale = np.nanstd(flat, axis=0)
        scale = np.where(np.isfinite(scale) & (scale > 1e-12), scale, np.inf)
        steps = np.nan_to_num((flat - center) / scale)
        return cls(center, scale, LedoitWolf(assume_centered=True).fit(steps).precision_)

    def without(self, columns: np.ndarray) -> Shape:
        """The same of the other columns alone; ``columns`` is a mask."""
        keep = np.ix_(~columns, ~columns)
        precision = np.zeros_like(self.precision)
        precision[keep] = np.linalg.inv(np.linalg.inv(self.precision)[keep])
        return self._replace(precision=precision)

    def steps(self, values: np.ndarray) -> np.ndarray:
        return finite((values.reshape(len(values), -1) - self.center) / self.scale)

    def length(self, values: np.ndarray) -> np.ndarray:
        """Mahalanobis length of each row."""
        z = self.steps(values)
        return np.sqrt(np.maximum(((z @ self.precision) * z).sum(axis=1), 0))

    def along(self, values: np.ndarray, push: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far rows lie off the data in the direction of ``push``.

        In standard errors (the likelihood ratio test of Gaussian rows moved by a multiple of the
        push), and that multiple itself.
        """
        z, u = self.steps(values), finite(push.reshape(len(push), -1) / self.scale)
        weighted = u @ self.precision
        own, both = (np.einsum("ij,ij->i", weighted, part) for part in (u, z))
        own = np.where(own > 1e-12, own, np.inf)
        return both / np.sqrt(own), both / own


class Probe:
    """A fitted estimator, asked for no more than what a monitor watches."""

    def __init__(
        self, estimator: Any, threat: Threat, radius: float, rows: Rows, known: Any = None
    ):
        """``known``: what has a ``response`` and ``classes`` found earlier, on more rows."""
        if isinstance(estimator, type) or not hasattr(estimator, "predict"):
            raise invalid(
                "estimator", estimator, "a fitted estimator with predict", "Call its fit first.",
                TypeError,
            )  # fmt: skip
        self.estimator, self.threat, self.radius = estimator, threat, radius
        self.regression = is_regression(estimator)
        if known is None:
            self.classes = None if self.regression else _classes(estimator, rows)
            self.response = self._response(rows)
        else:
            self.classes, self.response = known.classes, known.response
        view = torch_view(estimator, rows)
        self.view = None if view is None or view.jumps else view
        self._map = map_of(self.view, int(np.prod(rows.values.shape[1:])))
        self._regions: dict[tuple, BallRegion] = {}
        self._pushes: Pushes | None = None

    def answers(self, given: Any, outputs: Any = None) -> Answers:
        """Ask the model; or take what it said before, ``outputs``."""
        if outputs is None:
            outputs = self.ask(given)
        n = len(given)
        outputs = np.asarray(outputs)
        if len(outputs) != n:
            raise ValueError(f"outputs has {len(outputs)} rows, X has {n}.")
        if self.regression:
            values = outputs.reshape(n, -1).astype(np.float64)
            return Answers(values, values)
        if outputs.ndim == 2 and outputs.shape[1] == len(self.classes):
            return Answers(outputs.argmax(axis=1), outputs.astype(np.float64))
        if self.response == "decision_function" and outputs.dtype.kind == "f":
            both = np.column_stack([-outputs.ravel(), outputs.ravel()])
            return Answers(both.argmax(axis=1), both)
        if self.response != "predict" or outputs.size != n:
            raise invalid(
                "outputs", f"<{outputs.dtype} of shape {outputs.shape}>",
                f"what {self.response}() of the model returns, as in fit",
                "Others have another confidence, and that would look like a change. Without outputs= "
                "the monitor asks the model itself.",
            )  # fmt: skip
        codes = self.coded(outputs.reshape(n))
        return Answers(codes, np.eye(len(self.classes))[codes])

    def ask(self, given: Any) -> np.ndarray:
        """Class probabilities (or scores, or labels), or predicted values."""
        ask = getattr(self.estimator, self.response)
        named = getattr(self.estimator, "feature_names_in_", None) is not None
        if named == hasattr(given, "columns"):  # nothing to say; silence costs a forest a twentieth
            return np.asarray(ask(given))
        with quiet_names():
            return np.asarray(ask(given))

    def coded(self, labels: Any) -> np.ndarray:
        """Class numbers; -1 for a label that the model does not know."""
        place = {label: k for k, label in enumerate(self.classes)}
        return np.array([place.get(label, -1) for label in np.asarray(labels).tolist()], dtype=int)

    @property
    def has_slope(self) -> bool:
        return self.view is not None and self.view.differentiable

    @property
    def is_small(self) -> bool:
        """Whether margins cost little: slopes of a model of few numbers."""
        if not self.has_slope:
            return False
        module = self.view.module
        return sum(t.numel() for t in (*module.parameters(), *module.buffers())) <= SMALL

    def near(self, values: np.ndarray, rows: Rows, answers: Answers) -> np.ndarray:
        """That field of :meth:`margins`, for rows whose label came late."""
        region = None if self.has_slope else self._region_of(values)
        if region is None:
            return self.margins(values, rows, answers, 0).near
        return self._near_by_chance(rows, answers, 0, np.ones(len(values), dtype=bool), region)

    def margins(
        self,
        values: np.ndarray,
        rows: Rows,
        answers: Answers,
        seed: int,
        asked: Any = None,
        nearby: np.ndarray | None = None,
    ) -> Margins:
        """One forward and backward pass, and one more forward pass where the slope leads.

        The second pass (without a slope: the only one) is for rows ``asked`` (a mask; None: all).
        Rows outside the bounds that the user gave cannot be: they count as on the boundary.
        ``nearby``: the scores at :meth:`places`, where they have been asked for already.
        """
        asked = np.ones(len(values), dtype=bool) if asked is None else asked
        if self._pushes is not None and values.dtype == np.float64 and not np.isnan(values.sum()):
            value, loss, push, near = self._pushes.of_rows(values, answers.answer, asked)
            return Margins(self._steps(value, loss), near, push)
        region = self._region_of(values)
        if region is not None:
            return self._margins(values, rows, answers, seed, asked, region, nearby)
        inside = self._inside(values)
        n = len(values)
        push = np.zeros_like(values, dtype=float) if self.has_slope else None
        drop = None if self.has_slope or self.regression else np.zeros(n)
        found = Margins(np.zeros(n), 1.0 - inside, push, drop)
        if inside.any():
            part = Answers(*(field[inside] for field in answers))
            region = self._region_of(values[inside])
            some = self._margins(values[inside], rows, part, seed, asked[inside], region)
            for whole, field in zip(found, some, strict=True):
                if field is not None:
                    whole[inside] = field
        return found

    @property
    def _device(self) -> Any:
        return self.view.device if self.has_slope else "cpu"

    def check(self, values: np.ndarray) -> None:
        """The threat's own errors: not bound, bounds that leave reference rows outside, shapes."""
        self._region(to_tensor(values))

    def _region_of(self, values: np.ndarray) -> Any:
        """None if some row lies outside."""
        try:
            return self._region(to_tensor(values, device=self._device))
        except ValueError:
            return None

    def _inside(self, values: np.ndarray) -> np.ndarray:
        """Rows that the threat's bounds allow."""
        if self._region_of(values) is not None:
            return np.ones(len(values), dtype=bool)
        if len(values) == 1:
            return np.zeros(1, dtype=bool)
        half = len(values) // 2
        return np.concatenate([self._inside(values[:half]), self._inside(values[half:])])

    def _margins(
        self, values: np.ndarray, rows: Rows, answers: Answers, seed, asked, region, nearby=None
    ) -> Margins:
        if not self.has_slope:
            return self._by_chance(rows, answers, seed, asked, region, nearby)
        x, answer = region.x, None if self.regression else answers.answer
        with self.view.evaluating():
            value, slope = slope_of(self.view, self._map, x, answer)
            up, down = region.steepest(slope), region.steepest(-slope)
            push, loss = up - x, _inner(slope, x - down)
            if self.regression:
                distance = -to_numpy(torch.maximum(_inner(slope, push), loss))
                return Margins(distance, np.zeros(len(values)), finite(to_numpy(push)))
            near = np.full(len(values), np.nan)
            if asked.any():
                with torch.no_grad():
                    outputs = self.view.forward(down[torch.as_tensor(asked)])
                    near[asked] = to_numpy(lead(outputs, answer[asked]) <= 0)
        return Margins(self._steps(to_numpy(value), to_numpy(loss)), near, finite(to_numpy(push)))

    def _steps(self, value: np.ndarray, loss: np.ndarray) -> np.ndarray:
        """Steps to the boundary, to first order: the radius costs ``loss`` of ``value``."""
        steps = self.radius * value / np.maximum(loss, 1e-300)
        return np.where(loss > 0, np.clip(steps, -FAR, FAR), FAR)

    def _region(self, x: torch.Tensor) -> Any:
        """The threat's; what it says is read once, and serves all rows within the bounds."""
        key = x.dtype, x.device, x.shape[1:]
        known = self._regions.get(key)
        if known is not None and known.holds(x):
            return known.around(x)
        region = self.threat.region(x, max(self.radius, 1e-12))
        if type(self.threat) is LpBall and type(region) is BallRegion:
            self._regions[key] = region.take(torch.zeros(1, dtype=torch.long, device=x.device))
            if not self.regression:
                self._pushes = self._pushes or Pushes.of(self._map, self._regions[key])
        return region

    def _by_chance(self, rows: Rows, answers: Answers, seed, asked, region, nearby) -> Margins:
        """Without a slope: the gap of the scores, and random places within the radius."""
        wanted = np.ones(len(asked), dtype=bool) if self.regression else asked
        near = self._near_by_chance(rows, answers, seed, wanted, region)
        if self.regression:
            return Margins(-near, np.zeros(len(asked)))
        best = np.sort(answers.score, axis=1)
        gap = best[:, -1] - best[:, -2] if best.shape[1] > 1 else best[:, -1]
        if nearby is None:
            nearby = self.answers(rows.wrap(_shaken(region, seed))).score
        return Margins(gap, near, drop=_drop(answers, nearby))

    def _near_by_chance(self, rows: Rows, answers: Answers, seed, wanted, region) -> np.ndarray:
        """Whether the class changes at one random place (of a regressor: by how much the output does)."""
        near = np.full(len(wanted), np.nan)
        if wanted.any():
            generator = torch.Generator().manual_seed(int(seed))
            moved = to_numpy(region.realize(region.sample(generator)))[wanted]
            other = self.answers(rows.wrap(moved)).answer
            change = np.abs(other - answers.answer[wanted]).reshape(len(moved), -1).max(axis=1)
            near[wanted] = change if self.regression else change > 0
        return near

    def places(self, values: np.ndarray, seed: int) -> np.ndarray | None:
        """Places close to rows where the model wants to be asked, too; None if it does not.

        Asked in the same call as the rows themselves they cost no call of their own.
        """
        if self.has_slope or self.regression:
            return None
        region = self._region_of(values)
        return None if region is None else _shaken(region, seed)

    def _response(self, rows: Rows) -> str:
        """The richest answer that decides as ``predict`` does."""
        if self.regression:
            return "predict"
        with quiet_names():
            labels = self.coded(np.asarray(self.estimator.predict(rows.given)).reshape(len(rows)))
            for name in ("predict_proba", "decision_function"):
                if not hasattr(self.estimator, name):
                    continue
                scores = np.asarray(getattr(self.estimator, name)(rows.given))
                binary = scores.ndim == 1 or scores.shape[1] == 1
                if binary and len(self.classes) == 2:
                    decided = (scores.ravel() > 0).astype(int)
                elif scores.ndim == 2 and scores.shape[1] == len(self.classes):
                    decided = scores.argmax(axis=1)
                else:
                    continue
                if (decided == labels).all():
                    return name
        return "predict"


def _shaken(region: Any, seed: int) -> np.ndarray:
    """One random place per row and share of the radius, one share after the other."""
    generator, x = torch.Generator().manual_seed(int(seed) + 1), region.x
    moved = [
        to_numpy(region.realize(torch.lerp(x, region.sample(generator), share))) for share in SHAKES
    ]
    return np.concatenate(moved)


def _drop(answers: Answers, nearby: np.ndarray) -> np.ndarray:
    """An attack stops just beyond the boundary, in a place that random steps leave again.

    So there the score of the answer falls, and at usual rows it falls as often as it rises (Roth et al.
    2019, arXiv 1902.04818, use the same sign for networks).
    """
    own = answers.answer[:, None]
    there = nearby.reshape(len(SHAKES), len(own), -1).mean(axis=0)
    return np.take_along_axis(answers.score - there, own, axis=1)[:, 0]


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    found = (a * b).flatten(1).sum(dim=1)
    if torch.isfinite(found.sum()):
        return found
    return torch.nan_to_num(a * b).flatten(1).sum(dim=1)


def finite(values: np.ndarray) -> np.ndarray:
    """Zeros for what is missing; mostly nothing is, and a sum tells."""
    with np.errstate(invalid="ignore", over="ignore"):
        whole = np.isfinite(values.sum())
    return values if whole else np.nan_to_num(values)


def _classes(estimator: Any, rows: Rows) -> list:
    known = getattr(estimator, "classes_", None)
    if known is None:
        return sorted(set(np.asarray(estimator.predict(rows.given)).ravel().tolist()))
    return np.asarray(known).tolist()
