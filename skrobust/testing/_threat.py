"""The laws of threats, as checks that any threat of your own can be put through."""

from __future__ import annotations

import pickle

import torch
from sklearn.base import clone
from torch import Tensor

from skrobust._torch import per_row
from skrobust.exceptions import ThreatNotBoundError
from skrobust.threats import Region, Threat

__all__ = ["check_threat_laws"]


def check_threat_laws(
    threat: Threat, x: Tensor, radius: float | Tensor, *, random_state: int = 0
) -> None:
    """Check that a bound threat keeps its promises on the rows ``x``.

    Budget (every point handed out lies in the region, and ``settle`` leaves it as it is; where
    there are rules, every row that ``realize`` makes of a point obeys them), optimality (no random
    point of the region is nearer than the projection, or higher than the steepest point), ascent,
    rows on their own (``take``), radius 0, missing values, no trace (inputs, global random
    numbers), clone and pickle.

    Parameters
    ----------
    threat : Threat
        Bound to numbers.
    x : Tensor of floats of shape (n, ...)
        Rows, at least two; NaN is a missing value.
    radius : float or Tensor of shape (n,)

    Raises
    ------
    AssertionError
        With the name of the law that broke.

    Examples
    --------
    >>> from skrobust.threats import LpBall
    >>> check_threat_laws(LpBall("l1", bounds=(0, 1)), torch.rand(5, 3), radius=0.5)
    """
    generator = torch.Generator(device=x.device).manual_seed(random_state)
    kept, state = x.clone(), torch.get_rng_state()
    region = threat.region(x, radius)
    gradient = _noise(x, generator)
    points = _points(region, gradient, generator)
    _budget(region, gradient, points, generator)
    if not region.ruled:
        _nearest(region, gradient, points, generator)
        _ascent(region, gradient)
    if region.exact_steepest:
        _highest(region, gradient, points, generator)
    _rows_alone(region, gradient)
    _still(threat.region(x, 0.0), gradient, generator)
    _expect(_equal(x, kept), "x is not changed in place")
    _copies(threat, region, gradient, radius)
    _expect(torch.equal(torch.get_rng_state(), state), "global random numbers are left alone")


def _points(region: Region, gradient: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """What each method hands out, from rows inside and far outside."""
    x = region.x
    reach = per_row(region.radius, x).clamp(min=1)
    far = x + 3 * reach * region.scale * _noise(x, generator)
    inside = region.sample(generator)
    return {
        "sample": inside,
        "project": region.project(far),
        "project (inside)": region.project(inside),
        "steepest": region.steepest(gradient),
        "steepest (zero gradient)": region.steepest(torch.zeros_like(x)),
        "step": region.step(inside, gradient, 0.3),
        "step (long)": region.step(inside, gradient, 10 * region.radius),
        "step (zero gradient)": region.step(inside, torch.zeros_like(x), 0.3),
        "settle": region.settle(far),
        "NaN": region.project(torch.full_like(x, torch.nan)),
    }


def _budget(region: Region, gradient: Tensor, points, generator) -> None:
    x = region.x
    for name, point in points.items():
        z = region.realize(point)
        _expect(point.shape == x.shape and point.dtype == x.dtype, f"{name}: shape and dtype of x")
        _expect(z.shape == x.shape and z.dtype == x.dtype, f"{name}: realize keeps shape and dtype")
        slack = 64 * torch.finfo(x.dtype).eps * x.abs().nan_to_num().max().clamp(min=1)
        _expect(_close(region.realize(z), z, slack), f"{name}: realize leaves its own rows alone")
        _expect(_equal(z.isnan(), x.isnan()), f"{name}: missing values stay, no others appear")
        held = (region.low <= z) & (z <= region.high) | z.isnan()
        _expect(bool(held.all()), f"{name}: between low and high")
        distance = region.distance(z)
        _expect(distance.shape == (len(x),), "distance: one number per row")
        over = (distance - region.radius).max()
        _expect(bool((distance <= region.radius).all()), f"{name}: budget holds (over by {over})")
        if region.ruled:
            continue
        _expect(_equal(region.settle(z), z), f"{name}: settle leaves points of the region alone")
        slack = 8 * torch.finfo(x.dtype).eps * x.abs().nan_to_num().max().clamp(min=1)
        again = region.project(z)
        _expect(_close(again, z, slack), f"{name}: project leaves points of the region alone")
    _expect(_equal(points["NaN"], x), "project: NaN goes to x")
    _expect(_equal(points["steepest (zero gradient)"], x), "steepest: without slope nothing moves")


def _nearest(region: Region, gradient: Tensor, points, generator) -> None:
    """The projection p of z is where (z - p) . (q - p) <= 0 for all q of the region."""
    scale = region.scale
    far = region.x + 2 * scale * per_row(region.radius, region.x) * _noise(region.x, generator)
    nearest = region.project(far)
    # the farthest that the region reaches in the direction of z - p: no sample could say more
    points = {**points, "its own steepest": region.steepest((far - nearest) / scale**2)}
    for name, other in points.items():
        ahead = _dot((far - nearest) / scale, (other - nearest) / scale)
        room = _dot((far - nearest).abs() / scale, (other - nearest).abs() / scale)
        _expect(bool((ahead <= _slack(region, room)).all()), f"project: nearest (against {name})")


def _highest(region: Region, gradient: Tensor, points, generator) -> None:
    slope = gradient
    if region.ruled:  # a repair turns slopes of some columns into slopes of others
        x = region.x.clone().requires_grad_(True)
        climbed = (region.realize(x) * gradient).nan_to_num().sum()
        slope = torch.autograd.grad(climbed, x)[0]
    best = region.realize(region.steepest(slope)) - region.x
    others = {**points, "another sample": region.sample(generator)}
    for name, other in others.items():
        other = region.realize(other)
        gain = _dot(gradient, (other - region.x) - best)
        room = _dot(gradient.abs(), best.abs() + (other - region.x).abs())
        _expect(bool((gain <= _slack(region, room)).all()), f"steepest: highest (against {name})")


def _ascent(region: Region, gradient: Tensor) -> None:
    z = region.x
    for _ in range(3):
        moved = region.step(z, gradient, 0.2 * region.radius)
        gain, room = _dot(gradient, moved - z), _dot(gradient.abs(), (moved - z).abs())
        _expect(bool((gain >= -_slack(region, room)).all()), "step: goes up")
        z = moved


def _rows_alone(region: Region, gradient: Tensor) -> None:
    index = torch.arange(len(region.x), device=region.x.device).flip(0)[::2]
    for rows in (index, index[:0], torch.ones(len(region.x), dtype=torch.bool).to(index.device)):
        part = region.take(rows)
        _expect(_equal(part.x, region.x[rows]), "take: rows")
        _expect(_equal(part.radius, region.radius[rows]), "take: radius")
        slack = 64 * torch.finfo(region.x.dtype).eps
        slack = slack * (region.steepest(gradient) - region.x).abs().nan_to_num().max()
        slack = slack + 8 * torch.finfo(region.x.dtype).eps * region.x.abs().nan_to_num().max()
        whole, alone = region.steepest(gradient)[rows], part.steepest(gradient[rows])
        _expect(_close(whole, alone, slack), "take: steepest of a row does not see other rows")
        far = region.x + 2 * gradient
        whole, alone = region.project(far)[rows], part.project(far[rows])
        _expect(_close(whole, alone, slack), "take: projection of a row does not see other rows")


def _still(region: Region, gradient: Tensor, generator: torch.Generator) -> None:
    for name, z in _points(region, gradient, generator).items():
        _expect(_equal(region.realize(z), region.x), f"{name}: radius 0 is no movement")
    _expect(bool((region.distance(region.x) == 0).all()), "distance: x has not moved")


def _copies(threat: Threat, region: Region, gradient: Tensor, radius) -> None:
    _expect(threat.is_bound, "is_bound: a threat that gives regions is bound")
    expected = region.steepest(gradient)
    for name, copied in (
        ("clone", clone(threat)),
        ("pickle", pickle.loads(pickle.dumps(threat))),
        ("bind", threat.bind(region.x.cpu())),
    ):
        try:
            found = copied.region(region.x, radius).steepest(gradient)
        except ThreatNotBoundError as error:
            raise AssertionError(f"{name}: a bound threat stays bound") from error
        _expect(_equal(found, expected), f"{name}: the copy gives the same regions")


def _noise(like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.randn(like.shape, dtype=like.dtype, device=like.device, generator=generator)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    return (a * b).nan_to_num(nan=0.0).double().flatten(1).sum(dim=1)


def _slack(region: Region, size: Tensor) -> Tensor:
    """Rounding: a few units relative to the movement, and of ``x`` where that is larger."""
    x, scale = region.x, region.scale
    eps = torch.finfo(x.dtype).eps
    lost = ((x.abs() / scale).nan_to_num().flatten(1).sum(dim=1)).double() * eps
    return 1e3 * eps * size + 1e2 * lost * (1 + size.sqrt() + size)


def _equal(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _close(a: Tensor, b: Tensor, slack: Tensor) -> bool:
    return bool(((a - b).abs().nan_to_num() <= slack).all())


def _expect(kept: bool, law: str) -> None:
    if not kept:
        raise AssertionError(f"law broken: {law}")
