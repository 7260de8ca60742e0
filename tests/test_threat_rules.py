"""Rules beyond ball and box: every moved row obeys them, and the worst one is found."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import linprog
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

from skrobust import LpBall, worst_case
from skrobust.attacks import APGD, PGD, Auto, Noise, Search
from skrobust.testing import check_threat_laws

NORMS = ["linf", "l2", "l1"]
RNG = np.random.default_rng(0)
N = 60
FRAME = pd.DataFrame(
    {
        "age": RNG.integers(18, 70, N),
        "rooms": RNG.choice([1, 2, 3, 5, 8], N),
        "income": RNG.normal(50, 10, N),
        "red": 0,
        "blue": 0,
        "green": 0,
        "job": RNG.choice([0, 1, 4, 7], N),
        "net": RNG.normal(10, 2, N),
        "tax": RNG.normal(2, 0.5, N),
    }
)
COLORS = ["red", "blue", "green"]
for row, color in enumerate(RNG.integers(0, 4, N)):  # the fourth color was dropped by the encoder
    if color < 3:
        FRAME.loc[row, COLORS[color]] = 1
FRAME["total"] = FRAME.net + FRAME.tax
FRAME["member"] = RNG.random(N) < 0.5
NUMBERS = FRAME.to_numpy(dtype=float)
LABELS = (
    FRAME.age / 20 + FRAME.income / 20 + FRAME.red + FRAME.rooms / 4 + RNG.normal(0, 0.5, N) > 5.7
).astype(int)


def the_sum(row):
    return row["net"] + row["tax"]


SUM = {"total": the_sum}
STEPS = {
    "age": 2.0, "rooms": 1.0, "income": 5.0, "net": 1.0, "tax": 0.2, "member": 1.0
}  # fmt: skip


def everything(norm="linf", **options):
    options = {
        "integer": ["age"],
        "levels": {"rooms": [1, 2, 3, 5, 8], "member": [0, 1]},
        "groups": [COLORS],
        "categorical": ["job"],
        "repair": SUM,
        "scale": STEPS,
        **options,
    }
    return LpBall(norm, **options).bind(FRAME)


def obeys(moved, most=1, threat_levels=(1, 2, 3, 5, 8)):
    """Checked without a line of the library."""
    z, x = np.asarray(moved, dtype=float), NUMBERS
    names = list(FRAME.columns)
    get = lambda a, name: a[:, names.index(name)]
    colors = z[:, 3:6]
    assert np.isin(colors, [0, 1]).all() and (colors.sum(1) <= 1).all()
    changes = (colors != x[:, 3:6]).any(1).astype(int) + (get(z, "job") != get(x, "job"))
    assert (changes <= most).all()
    assert np.isin(get(z, "job"), [0, 1, 4, 7]).all()
    assert (get(z, "age") == np.round(get(z, "age"))).all()
    assert np.isin(get(z, "rooms"), threat_levels).all()
    assert np.isin(get(z, "member"), [0, 1]).all()
    np.testing.assert_allclose(get(z, "total"), get(z, "net") + get(z, "tax"), rtol=1e-9)


def lengths(moved, order):
    names = list(STEPS)
    step = (np.asarray(moved[names], dtype=float) - FRAME[names].to_numpy(dtype=float)) / [
        *STEPS.values()
    ]
    return np.linalg.norm(step, order, axis=1)


# --- laws -------------------------------------------------------------------------------------

RULES = {
    "integer": {"integer": ["age"]},
    "levels": {"levels": {"rooms": "data", "member": [0, 1]}},
    "groups": {"groups": [COLORS]},
    "groups, two changes": {"groups": [COLORS, ["member"]], "max_changes": 2},
    "categorical": {"categorical": {"job": [0, 1, 4, 7], "rooms": "data"}, "max_changes": None},
    "repair of columns": {"repair": SUM},
    "dtype": {"integer": "dtype", "groups": [COLORS], "bounds": "data"},
    "all": {"integer": ["age"], "levels": {"rooms": "data"}, "groups": [COLORS],
            "categorical": ["job"], "repair": SUM, "bounds": "data", "frozen": ["tax"],
            "direction": {"income": "up"}},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("rule", RULES)
def test_laws_hold(rule, norm, dtype):
    options = RULES[rule]
    if rule == "dtype":
        options = {**options, "integer": ["age", "rooms"]}  # red, blue and green are whole too
    threat = LpBall(norm, **options).bind(FRAME)
    x = torch.tensor(NUMBERS[:9], dtype=dtype)
    if "repair" not in options:
        x[2, 0] = x[3, 4] = torch.nan
    else:  # float32 rounds both sides
        x[:, 9] = x[:, 7] + x[:, 8]
    for radius in (0.7, 2.3):
        check_threat_laws(threat, x, radius)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("frozen", [None, np.arange(40) < 10, [1]], ids=["", "times", "channel"])
@pytest.mark.parametrize("band", [0.2, (0.1, 0.5)], ids=str)
def test_laws_hold_for_bands(norm, frozen, band):
    x = torch.tensor(RNG.normal(size=(5, 3, 40)))
    check_threat_laws(LpBall(norm, band=band, frozen=frozen, scale=np.ones((3, 1))), x, 0.5)
    check_threat_laws(LpBall(norm, band=band), x[:, 0], 0.5)


def test_laws_hold_for_a_repair_of_rows():
    shares = torch.tensor(RNG.dirichlet(np.ones(4), 9))
    threat = LpBall("l2", repair=lambda z: z / z.sum(dim=1, keepdim=True))
    region = threat.region(shares, 0.1)
    z = region.realize(region.sample(torch.Generator().manual_seed(0)))
    torch.testing.assert_close(z.sum(dim=1), torch.ones(9).double())
    assert (region.distance(z) <= 0.1).all() and (z != shares).any(dim=1).all()


# --- the rows obey, whatever the attack -----------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize(
    "attack", [Noise(20), PGD(5), APGD(8), Search(50), Auto(n_queries=20)], ids=lambda a: type(a).__name__
)  # fmt: skip
def test_every_attack_obeys(attack, norm):
    model = MLPClassifier((10,), max_iter=300, random_state=0).fit(FRAME, LABELS)
    order = {"linf": np.inf, "l2": 2, "l1": 1}[norm]
    for most in (1, 2):
        worst = worst_case(
            model, FRAME, LABELS, radius=1.3, threat=everything(norm, max_changes=most),
            attack=attack, random_state=0, loss="log",
        )  # fmt: skip
        assert list(worst.X.dtypes) == list(FRAME.dtypes)
        obeys(worst.X, most)
        assert (lengths(worst.X, order) <= 1.3 + 1e-9).all()
        assert (worst.X != FRAME).any(axis=1).mean() > 0.9
        again = np.log1p(np.exp(-_margins(model, worst.X, LABELS)))
        np.testing.assert_allclose(worst.value, again, rtol=1e-6)


def _margins(model, X, y):
    p = np.clip(model.predict_proba(X)[:, 1], 1e-300, 1)
    q = np.clip(1 - p, 1e-16, 1)
    return np.where(y == 1, 1, -1) * (np.log(p) - np.log(q))


# --- truth: brute force on linear models -----------------------------------------------------


def brute_force(weights, x, radius, most):
    """Largest weights @ z over all allowed moves of one row, linf; total follows net and tax."""
    names = list(FRAME.columns)
    place = {name: k for k, name in enumerate(names)}
    best = 0.0
    for name in ("income", "net", "tax"):  # the rest is a choice of its own for each column
        w = weights[place[name]] + (weights[place["total"]] if name in ("net", "tax") else 0)
        best += abs(w) * radius * STEPS[name]
    w, age = weights[place["age"]], x[place["age"]]
    reach = radius * STEPS["age"]
    best += max(w * (a - age) for a in range(100) if abs(a - age) <= reach)
    for name, levels in (("rooms", [1, 2, 3, 5, 8]), ("member", [0, 1])):
        w, own = weights[place[name]], x[place[name]]
        best += max(w * (v - own) for v in levels if abs(v - own) <= radius * STEPS[name])
    colors = [np.zeros(3), *np.eye(3)]
    group = [float(weights[3:6] @ (color - x[3:6])) for color in colors]
    job = [weights[place["job"]] * (v - x[place["job"]]) for v in (0, 1, 4, 7)]
    gains = sorted([max(group), max(job)], reverse=True)
    return weights @ x + best + sum(gains[:most])


@pytest.mark.parametrize("most", [0, 1, 2])
@pytest.mark.parametrize("attack", ["exact", "auto"])
def test_exact_on_linear_models(attack, most):
    model = LogisticRegression(max_iter=10_000).fit(FRAME / NUMBERS.std(0), LABELS)
    weights = model.coef_[0] / NUMBERS.std(0)
    model.coef_ = weights[None]
    worst = worst_case(
        model, FRAME, LABELS, radius=1.4, threat=everything(max_changes=most), attack=attack,
        random_state=0,
    )  # fmt: skip
    sign = np.where(LABELS == 1, -1, 1)
    for k in range(N):
        expected = brute_force(sign[k] * weights, NUMBERS[k], 1.4, most)
        expected += sign[k] * model.intercept_[0]
        assert worst.value[k] == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("norm", ["l2", "l1"])
def test_auto_finds_the_worst_lattice_point(norm):
    """Five whole columns: all points of the ball are tried."""
    x = RNG.integers(-3, 4, (12, 5)).astype(float)
    weights = RNG.normal(size=5)
    grid = np.array(list(itertools.product(range(-3, 4), repeat=5)), dtype=float)
    order = {"l2": 2, "l1": 1}[norm]
    inside = grid[np.linalg.norm(grid / [1, 1, 0.5, 1.1, 1], order, axis=1) <= 2.6]
    bend = lambda z: np.tanh(z @ weights / 3) + 0.1 * np.cos(z).sum(-1)

    def value(z):
        return torch.tanh(z @ torch.tensor(weights) / 3) + 0.1 * z.cos().sum(dim=-1)

    threat = LpBall(norm, scale=[1, 1, 0.5, 1.1, 1], integer=np.ones(5, dtype=bool))
    truth = bend(x[:, None] + inside[None]).max(axis=1)
    found = Auto(n_queries=500).maximize(value, torch.tensor(x), threat, 2.6)
    assert (found.value.numpy() <= truth + 1e-9).all()
    assert (found.value.numpy() >= truth - 1e-3).mean() >= 0.9  # a search, not a proof
    np.testing.assert_allclose(found.value, bend(found.z.numpy()), rtol=1e-9)


def waves_of(length, band, held=0):
    """Basis of slow waves, written down once more; ``held`` first places are frozen."""
    free, time = length - held, np.arange(length - held)
    if held:
        shares = (np.arange(free) + 0.5) / (free + 0.5)
        inner = [np.sin(np.pi * share * (time + 1)) for share in shares if share <= band]
    else:
        inner = [np.cos(np.pi * k / free * (time + 0.5)) for k in range(free) if k / free <= band]
    return np.concatenate([np.zeros((held, len(inner))), np.stack(inner, axis=1)])


@pytest.mark.parametrize("held", [0, 9])
def test_smooth_worst_case_against_a_linear_program(held):
    length, radius, band = 24, 0.5, 0.25
    waves, weights = waves_of(length, band, held), RNG.normal(size=length)
    program = linprog(
        -(waves.T @ weights), A_ub=np.concatenate([waves, -waves]), b_ub=np.full(48, radius),
        bounds=(None, None),
    )  # fmt: skip
    x, frozen = torch.zeros(1, length, dtype=torch.float64), np.arange(length) < held
    value = lambda z: z @ torch.tensor(weights)
    found = APGD(200, n_restarts=4).maximize(value, x, LpBall(band=band, frozen=frozen), radius)
    assert found.value.item() <= -program.fun + 1e-9
    assert found.value.item() >= 0.93 * -program.fun  # projected, not solved
    spectrum = np.linalg.lstsq(waves, found.z[0].numpy(), rcond=None)
    assert spectrum[1].sum() < 1e-18


def test_exact_in_l2_bands():
    weights = torch.tensor(RNG.normal(size=30))
    value = lambda z: z @ weights
    found = APGD(30).maximize(value, torch.zeros(1, 30).double(), LpBall("l2", band=0.3), 2.0)
    waves = np.linalg.qr(waves_of(30, 0.3))[0]
    assert found.value.item() == pytest.approx(2 * np.linalg.norm(waves.T @ weights.numpy()))


# --- options ----------------------------------------------------------------------------------


def test_bound_threats_are_numbers_and_stay_bound():
    threat = everything()
    assert threat.is_bound and clone(threat).is_bound
    assert "groups=[[3, 4, 5]]" in repr(threat) and "repair=<repairs ['total']>" in repr(threat)
    assert threat.groups[0].may_be_empty and LpBall(groups=[[3, 4, 5]]).ruled
    for option in ({"integer": "dtype"}, {"groups": [COLORS]}, {"categorical": [6]},
                   {"levels": {1: "data"}}, {"repair": SUM}, {"integer": ["age"]}):  # fmt: skip
        assert not LpBall(**option).is_bound
    assert LpBall(integer=[0], groups=[[3, 4]], levels={1: [1, 2]}, band=0.5).is_bound


def test_types_say_what_is_whole():
    bound = LpBall(integer="dtype").bind(FRAME.drop(columns=COLORS))
    assert bound.integer.tolist() == [True, True, False, True, False, False, False, False]
    assert {k: v.tolist() for k, v in bound.levels.items()} == {7: [0, 1]}
    array = LpBall(integer="dtype").bind(np.arange(6).reshape(3, 2))
    assert array.integer.all()
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"a": [1, 2], "b": [0.5, 1.5], "c": [True, False]})
    bound = LpBall(integer="dtype").bind(frame)
    assert bound.integer.tolist() == [True, False, False] and list(bound.levels) == [2]


@pytest.mark.parametrize("library", ["pandas", "polars", "array", "nullable"])
def test_moved_rows_keep_their_types(library):
    X = FRAME[["age", "income", "member"]]
    if library == "polars":
        X = pytest.importorskip("polars").DataFrame({c: X[c].to_numpy() for c in X})
    if library == "array":
        X = X[["age"]].to_numpy()
    if library == "nullable":
        X = X.astype({"age": "Int64", "member": "boolean"})
    model = LogisticRegression().fit(np.asarray(X, dtype=float), LABELS)
    threat = LpBall(scale="std", integer="dtype").bind(X)
    worst = worst_case(model, X, LABELS, radius=0.5, threat=threat)
    types = lambda frame: (
        list(getattr(frame, "dtypes", [getattr(frame, "dtype", None)]))
        if library != "array"
        else frame.dtype
    )
    assert types(worst.X) == types(X)
    free = worst_case(model, X, LABELS, radius=0.5, threat=LpBall(scale="std").bind(X))
    assert types(free.X) != types(X)  # without the rule the column had to become float


def test_a_frozen_category_is_neither_taken_nor_left():
    x = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]])
    threat = LpBall(groups=[[0, 1, 2]], frozen=[0])
    region = threat.region(x, 1.0)
    z = region.realize(region.steepest(torch.tensor([[-1.0, 0.5, 2.0]] * 3)))
    assert z.tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]
    generator = torch.Generator().manual_seed(0)
    for _ in range(20):
        z = region.realize(region.sample(generator))
        assert (z[:, 0] == x[:, 0]).all() and (region.distance(z) <= 1).all()


def test_groups_may_be_empty_only_where_rows_were():
    never = LpBall(groups=[[0, 1]]).bind(np.eye(2))
    dropped = LpBall(groups=[[0, 1]]).bind(np.array([[1.0, 0], [0, 0]]))
    x, push = torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, -2.0]])
    for threat, expected in ((never, [[1, 0]]), (dropped, [[0, 0]])):
        region = threat.region(x, 1.0)
        assert region.realize(region.steepest(push)).tolist() == expected


def test_distance_names_what_is_broken():
    region = everything().region(torch.tensor(NUMBERS[:1]), 1.0)
    names = list(FRAME.columns)
    for name, shift in (("age", 0.5), ("rooms", 0.4), ("red", 0.5), ("job", 0.5), ("total", 1.0)):
        z = torch.tensor(NUMBERS[:1])
        z[0, names.index(name)] += shift
        assert region.distance(z).item() == np.inf, name
    z = torch.tensor(NUMBERS[:1])
    z[0, 0] += 1
    assert region.distance(z).item() == 0.5


def test_derived_columns_keep_to_their_bounds():
    threat = LpBall(repair={2: lambda row: row[0] + row[1]}, bounds=(None, [9, 9, 3.0]))
    x = torch.tensor([[1.0, 1.5, 2.5]])
    region = threat.region(x, 1.0)
    z = region.realize(region.steepest(torch.tensor([[1.0, 1.0, 0.0]])))
    assert z[0, 2] <= 3.0 and z[0, 2] > 2.6 and z[0, 2] == z[0, 0] + z[0, 1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"integer": "whole"}, "integer='whole'.*dtype"),
        ({"integer": "age"}, "a list of columns"),
        ({"integer": ["wealth"]}, "name of a column"),
        ({"integer": ["income"]}, "Row 0 does not obey integer=.*whole number"),
        ({"levels": ["rooms"]}, "levels=.*dict"),
        ({"levels": {"rooms": []}}, "at least one finite"),
        ({"levels": {"rooms": ["few"]}}, "a list of numbers"),
        ({"levels": {"rooms": "all"}}, 'a list of values or "data"'),
        ({"groups": ["red", "blue"]}, "list of lists"),
        ({"groups": [["red", "red"]]}, "different columns"),
        ({"groups": [["red", "age"]]}, "one-hot columns"),
        ({"groups": "red"}, "list of lists"),
        ({"categorical": 3}, "list of columns"),
        ({"max_changes": -1, "groups": [COLORS]}, "max_changes=-1"),
        ({"max_changes": 1.5, "groups": [COLORS]}, "max_changes=1.5"),
        ({"band": 0}, "share of the highest frequency"),
        ({"band": (0.5, 0.2)}, "share of the highest frequency"),
        ({"band": True}, "share of the highest frequency"),
        ({"band": 0.5, "integer": ["age"]}, "smooth movement"),
        ({"repair": 3}, "repair=3"),
        ({"repair": {"total": 3}}, "a function of a row"),
        ({"repair": {"sum": lambda row: row["net"]}}, "name of a column"),
        ({"repair": {"total": lambda row: row["net"]}}, "does not obey repair="),
        ({"repair": lambda z: z[:, :2]}, "shape of the rows"),
        ({"integer": ["age"], "levels": {"age": "data"}}, "ruled once"),
        ({"groups": [COLORS], "categorical": ["red"]}, "ruled once"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        LpBall(**options).bind(FRAME)


def test_shapes_that_have_no_such_rules():
    with pytest.raises(ValueError, match="for tables"):
        LpBall(groups=[[0, 1]]).region(torch.zeros(2, 2, 5), 1.0)
    with pytest.raises(ValueError, match="only series"):
        LpBall(band=0.5).region(torch.zeros(2, 1, 5, 5), 1.0)
    with pytest.raises(ValueError, match="wide enough"):
        LpBall(band=0.1, frozen=np.arange(20) != 3).region(torch.zeros(2, 1, 20), 1.0)


def test_masks_of_times():
    mask = np.arange(20) < 5
    region = LpBall(frozen=mask).region(torch.zeros(2, 3, 20), 1.0)
    z = region.steepest(torch.ones(2, 3, 20))
    assert (z[..., :5] == 0).all() and (z[..., 5:] > 0.9999).all()
    with pytest.raises(ValueError, match="mask of the shape"):
        LpBall(frozen=np.arange(19) < 5).region(torch.zeros(2, 3, 20), 1.0)
