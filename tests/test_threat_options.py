"""Options of threats become numbers; errors help; scikit-learn's tools work."""

import copy
import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import BaseEstimator, clone

from skrobust.exceptions import RobustnessWarning, ThreatNotBoundError
from skrobust.testing import check_threat_laws
from skrobust.threats import LpBall, check_threat

NORMS = ["linf", "l2", "l1"]
NAMES = ["age", "visits", "income", "debt", "share", "score"]
X = np.random.default_rng(0).random((40, 6)) * [1, 5, 1e3, 1e6, 0.01, 1] + [0, -2, 1e4, 1e5, 0, 0]
FRAME = pd.DataFrame(X, columns=NAMES)
STEPS = np.array([1, 2, 30, 4e3, 0.1, 0.5])


def rows(n=7):
    return torch.tensor(X[:n])


# --- bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize("norm", NORMS)
def test_learned_bounds_widen_to_hold_the_row(norm):
    threat = LpBall(norm, bounds="data").bind(np.array([[0.0, 0.0], [1.0, 1.0]]))
    x = torch.tensor([[2.0, 0.5], [-3.0, 0.5]], dtype=torch.float64)
    check_threat_laws(threat, x, 0.7)
    up, down = (threat.region(x, 0.7).steepest(sign * torch.ones_like(x)) for sign in (1, -1))
    assert (up[0, 0], down[1, 0]) == (2.0, -3.0)  # no further out
    assert down[0, 0] < 2.0 and up[1, 0] > -3.0  # free on the way back


def test_a_row_outside_given_bounds_is_an_error_that_names_it():
    threat = LpBall(bounds={"income": (0, 5)}).bind(FRAME)
    with pytest.raises(ValueError, match=r"Row 0 .*'income' is 10\d+.* \[0, 5\] \(7 of 7 rows"):
        threat.region(rows(), 0.1)
    with pytest.raises(ValueError, match=r"Row 3 .*column 1 is -0.5, .*1 of 7 .*bounds=\"data\""):
        x = torch.full((7, 2), 0.5)
        x[3, 1] = -0.5
        x[0, 1] = torch.nan  # a missing value hides nothing
        LpBall(bounds=(0, 1)).region(x, 0.1)


def test_overshoot_by_rounding_is_not_outside():
    x = torch.tensor([[1 + 2**-52, 0.5]], dtype=torch.float64)  # what MinMaxScaler returns
    z = LpBall(bounds=(0, 1)).region(x, 0.1).steepest(torch.ones_like(x))
    assert z.tolist() == [[1 + 2**-52, 0.6]]
    with pytest.raises(ValueError, match="outside"):
        LpBall(bounds=(0, 1)).region(x + 1e-9, 0.1)


@pytest.mark.parametrize(
    "bounds",
    [(None, 1.0), (None, [1.0, 1.0]), {1: (None, 1.0), 0: (None, 1)}, (-np.inf, 1)],
)
def test_ways_to_write_bounds(bounds):
    threat = LpBall(bounds=bounds)
    assert threat.is_bound
    for bound in (threat, threat.bind(np.zeros((2, 2)))):
        region = bound.region(torch.zeros(1, 2), 5.0)
        torch.testing.assert_close(region.low, torch.tensor([[-5.0, -5.0]]))
        torch.testing.assert_close(region.high, torch.tensor([[1.0, 1.0]]))


# --- binding ----------------------------------------------------------------------------------


def assert_same_params(first, second):
    one, two = first.get_params(), second.get_params()
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_equal(one[name], two[name])


@pytest.mark.parametrize("scale", ["std", "iqr", "range"])
def test_learned_scales_are_those_of_numpy(scale):
    expected = {
        "std": X.std(axis=0),
        "iqr": np.subtract(*np.percentile(X, [75, 25], axis=0)),
        "range": np.ptp(X, axis=0),
    }[scale]
    holes = X.copy()
    holes = np.r_[holes, np.full((3, 6), np.nan)]  # NaN is skipped
    np.testing.assert_allclose(LpBall(scale=scale).bind(holes).scale, expected)


@pytest.mark.parametrize("make", [pd.DataFrame, pl.DataFrame], ids=["pandas", "polars"])
def test_names_of_data_frames(make):
    frame = make(dict(zip(NAMES, X.T, strict=True)))
    threat = LpBall(
        scale=dict.fromkeys(NAMES[1:], 2.0), bounds={"visits": (-5, None)}, frozen=["age"],
        direction={"income": "up"},
    ).bind(frame)  # fmt: skip
    assert threat.scale.tolist() == [1.0, 2, 2, 2, 2, 2]
    assert threat.frozen.tolist() == [True] + [False] * 5
    assert threat.direction == {2: "up"}
    assert threat.bounds.low.tolist() == [-np.inf, -5] + [-np.inf] * 4
    check_threat_laws(threat, rows(), 0.4)
    by_hand = LpBall(frozen=["age"]).bind(X, feature_names=NAMES)
    assert by_hand.frozen.tolist() == threat.frozen.tolist()


def test_binding_is_idempotent_leaves_the_original_alone_and_shares_nothing():
    steps = STEPS.copy()
    threat = LpBall("l1", steps, "data", ["age"], {"debt": "down"})
    before = copy.deepcopy(threat.get_params())
    bound = threat.bind(FRAME)
    np.testing.assert_equal(threat.get_params(), before)
    assert not threat.is_bound and bound.is_bound
    assert_same_params(bound, threat.bind(FRAME))
    assert_same_params(bound, bound.bind(X + 100))  # nothing is learned twice
    steps[:] = -1
    assert (bound.scale > 0).all()


def test_nullable_and_integer_columns():
    frame = pd.DataFrame({"a": pd.array([1, None, 3], dtype="Int64"), "b": [1, 2, 4]})
    np.testing.assert_allclose(LpBall(scale="range").bind(frame).scale, [2, 3])
    frame = pl.DataFrame({"a": [1, None, 3], "b": [1, 2, 4]})
    np.testing.assert_allclose(LpBall(scale="range").bind(frame).scale, [2, 3])


@pytest.mark.parametrize("scale", ["std", "iqr", "range"])
def test_constant_columns_cannot_move_and_one_warning_says_so(scale):
    frame = FRAME.assign(score=0.1, share=np.nan)
    with pytest.warns(RobustnessWarning, match="'share', 'score'") as seen:
        threat = LpBall(scale=scale, bounds="data").bind(frame)
    assert len(seen) == 1 and seen[0].filename == __file__
    assert threat.frozen.tolist() == [False] * 4 + [True] * 2
    check_threat_laws(threat, rows(), 0.5)
    with pytest.warns(RobustnessWarning):  # what the user froze stays frozen
        assert LpBall(scale=scale, frozen=["age"]).bind(frame).frozen.tolist()[:2] == [True, False]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody needs to hear of columns that are frozen anyway
        LpBall(scale=scale, frozen=["share", "score"]).bind(frame)


def test_a_constant_column_whose_rounded_deviation_is_not_zero():
    table = X.copy()
    table[:, 5] = np.pi
    assert 0 < table.std(axis=0)[5] < 1e-10
    with pytest.warns(RobustnessWarning, match="std.* 0 for 5:"):
        assert LpBall(scale="std").bind(table).frozen.tolist() == [False] * 5 + [True]


def test_a_column_without_a_single_number_cannot_move():
    frame = FRAME.assign(share=np.nan)
    region = LpBall(bounds="data").bind(frame).region(rows(), 0.5)
    assert torch.equal(region.low[:, 4], rows()[:, 4])
    assert torch.equal(region.high[:, 4], rows()[:, 4])


def test_unbound_threats_say_what_is_missing():
    for threat in (LpBall(scale="std"), LpBall(bounds="data"), LpBall(frozen=["age"])):
        assert not threat.is_bound
        with pytest.raises(ThreatNotBoundError, match=r"threat.bind\(X_train\)"):
            threat.region(rows(), 0.1)
    with pytest.raises(ThreatNotBoundError, match="scale='std', direction={'age': 'up'}"):
        LpBall(scale="std", direction={"age": "up"}).region(rows(), 0.1)


# --- errors -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"norm": "l3"}, "norm='l3'.*linf"),
        ({"norm": True}, "norm=True"),
        ({"scale": "mad"}, "scale='mad'.*iqr"),
        ({"scale": 0}, "scale=0 .*frozen="),
        ({"scale": -1.0}, "scale=-1.0"),
        ({"scale": None}, "scale=None"),
        ({"scale": np.nan}, "scale=nan"),
        ({"scale": [1, 1, 1]}, r"shape of one row, \(6,\), not \(3,\)"),
        ({"scale": [1, 1, 0, 1, 1, 1]}, "> 0"),
        ({"scale": {"age": 1}}, "Missing: 'visits', 'income', 'debt', 'share', 'score'"),
        ({"scale": {"age": 0}}, r"scale\['age'\]=0"),
        ({"scale": {"agee": 1}}, r"scale='agee'.*\['age'\]"),
        ({"bounds": (1, 0)}, r"bounds=\(1.0, 0.0\).*low <= high.*'age'"),
        ({"bounds": (np.nan, 1)}, "NaN"),
        ({"bounds": {"debt": (3, 2)}}, r"\(3.0, 2.0\).*'debt'"),
        ({"bounds": {"debt": 3}}, r"bounds\['debt'\]=3.*pair"),
        ({"bounds": 3}, "bounds=3.*pair"),
        ({"bounds": (0, 1, 2)}, "pair"),
        ({"bounds": "train"}, "bounds='train'.*data"),
        ({"bounds": ([0, 0], None)}, r"not \(2,\)"),
        ({"frozen": ["incom"]}, r"frozen='incom'.*\['income'\]"),
        ({"frozen": [6]}, "frozen=6.*below 6"),
        ({"frozen": np.ones(4, bool)}, "mask"),
        ({"direction": {"age": "left"}}, r"direction\['age'\]='left'.*\"up\""),
        ({"direction": {9: "up"}}, "direction=9"),
    ],
)
def test_values_that_make_no_sense(options, message):
    threat = LpBall(**options)  # __init__ stores, bind checks
    with pytest.raises(ValueError, match=message):
        threat.bind(FRAME)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": {"age": "big"}}, r"scale\['age'\]='big'"),
        ({"scale": [1, "a"]}, "number"),
        ({"frozen": "age"}, r"frozen=\['age'\]"),
        ({"frozen": 3}, r"frozen=\[3\]"),
        ({"frozen": [None]}, "names or indices"),
        ({"frozen": [1.5]}, "names or indices"),
        ({"direction": ["age"]}, "dict"),
    ],
)
def test_types_that_make_no_sense(options, message):
    with pytest.raises(TypeError, match=message):
        LpBall(**options).bind(FRAME)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": -1.0}, {"scale": [1, 2]}, {"bounds": (1, 0)}, {"bounds": 3}, {"frozen": [6]},
        {"norm": "l3"}, {"direction": {0: "sideways"}}, {"scale": {0: 1.0}},
    ],
)  # fmt: skip
def test_threats_of_numbers_are_checked_without_binding(options):
    with pytest.raises(ValueError, match="is not valid"):
        LpBall(**options).region(rows(), 0.1)


@pytest.mark.parametrize("option", [{"frozen": ["age"]}, {"direction": {"age": "up"}}])
def test_names_without_names_hint_at_the_way_out(option):
    with pytest.raises(ValueError, match=r"'age'.*set_output\(transform=\"pandas\"\).*preproc"):
        LpBall(**option).bind(X)


def test_names_that_stand_for_two_columns():
    frame = pd.DataFrame(X[:, :2], columns=["a", "a"])
    with pytest.raises(ValueError, match="several columns"):
        LpBall(frozen=["a"]).bind(frame)
    with pytest.raises(ValueError, match="one name for each of the 6 columns"):
        LpBall().bind(X, feature_names=["a", "b"])


def test_data_that_no_threat_can_learn_from():
    with pytest.raises(TypeError, match="numbers.*encode dates"):
        LpBall(scale="std").bind(pd.DataFrame({"a": [{}, "y"]}))
    with pytest.raises(ValueError, match="rows"):
        LpBall().bind([1.0, 2.0])
    for options in ({"scale": "std"}, {"bounds": "data"}):
        with pytest.raises(ValueError, match="at least one row"):
            LpBall(**options).bind(np.zeros((0, 3)))


@pytest.mark.parametrize("radius", [-0.1, np.nan, np.inf, [0.1, -1] + [0] * 5, torch.tensor(-1.0)])
def test_radii_that_are_no_radii(radius):
    with pytest.raises(ValueError, match="radius=.*>= 0"):
        LpBall().region(rows(), radius)


@pytest.mark.parametrize("radius", ["0.1", None, True, [True] * 7, 1j, object(), [[1], [1, 2]]])
def test_radii_of_the_wrong_type(radius):
    with pytest.raises(TypeError, match="radius=.*steps"):
        LpBall().region(rows(), radius)


def test_a_radius_per_feature_is_not_taken_for_one_per_row():
    with pytest.raises(ValueError, match=r"one for each of the 7 rows.*LpBall\(scale="):
        LpBall().region(rows(), STEPS)


@pytest.mark.parametrize(
    "x", [X, torch.zeros(2, 3, dtype=torch.long), [[1.0]], torch.tensor(1.0), torch.ones(3)]
)
def test_rows_are_float_tensors(x):
    with pytest.raises(TypeError, match="tensor of floats"):
        LpBall().region(x, 0.1)


# --- a good scikit-learn citizen ----------------------------------------------------------------


class Holder(BaseEstimator):
    def __init__(self, threat="linf"):
        self.threat = threat


def test_parameters_nest():
    holder = Holder(LpBall("l2", scale="std")).set_params(threat__norm="l1", threat__bounds="data")
    assert repr(holder.threat) == "LpBall(norm='l1', scale='std', bounds='data')"
    assert clone(holder).threat is not holder.threat
    assert "norm='l1'" in repr(holder)


@pytest.mark.parametrize("copied", [clone, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_copies_of_bound_and_unbound_threats(copied):
    threat = LpBall("l2", "iqr", "data", ["age"], {"debt": "up"})
    assert_same_params(copied(threat), threat)
    bound = threat.bind(FRAME)
    again = copied(bound)
    assert_same_params(again, bound)
    assert again.is_bound and again.bounds.learned and again.bounds.names == tuple(NAMES)


def test_repr_is_short():
    assert repr(LpBall()) == "LpBall()"
    assert repr(LpBall(2, bounds=(0, 1))) == "LpBall(norm=2, bounds=(0, 1))"
    bound = LpBall("l2", "std", "data", ["age"], {"debt": "up"}).bind(FRAME)
    assert repr(bound) == (
        "LpBall(norm='l2', scale=<6 numbers>, bounds=<learned>, frozen=<1 of 6>, "
        "direction={3: 'up'})"
    )
    assert len(repr(LpBall(scale={str(i): 1.0 for i in range(1000)}))) < 200
    assert "<given>" in repr(LpBall(bounds=(0, 1)).bind(X / 1e7))


def test_subclasses_stay_what_they_are():
    class Careful(LpBall):
        def __init__(
            self, norm="l1", scale="std", bounds=None, frozen=None, direction=None, note=""
        ):
            super().__init__(norm, scale, bounds, frozen, direction)
            self.note = note

    bound = Careful(note="kept").bind(X)
    assert isinstance(bound, Careful) and bound.note == "kept" and bound.is_bound


@pytest.mark.parametrize("norm", ["linf", "l2", "l1", np.inf, 2, 1])
def test_check_threat_takes_norms(norm):
    assert check_threat(norm).norm == norm


def test_check_threat_takes_threats_and_nothing_else():
    threat = LpBall("l1")
    assert check_threat(threat) is threat
    for wrong in ("l3", 3, "LINF"):
        with pytest.raises(ValueError, match="threat=.*linf"):
            check_threat(wrong)
    for wrong in (None, LpBall, [1], object()):
        with pytest.raises(TypeError, match=r"threat=.*LpBall\(norm="):
            check_threat(wrong)
