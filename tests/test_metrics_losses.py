"""Losses of regressors: closed forms on linear models, one-sided and quantile losses."""

import pickle

import numpy as np
import pytest
from sklearn.datasets import make_regression
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_pinball_loss
from sklearn.neural_network import MLPRegressor

from skrobust import RobustScorer, robust_loss, robustness_curve, worst_case
from skrobust.metrics import Pinball

X, y = make_regression(60, 4, noise=20, random_state=0)
MODEL = LinearRegression().fit(X[:, :2], y)
ROWS = X[:, :2]
RESIDUAL = MODEL.predict(ROWS) - y
PUSH = 0.3 * np.abs(MODEL.coef_).sum()  # linf, exact


def pinball(residual, alpha):
    return np.maximum((1 - alpha) * residual, -alpha * residual)


FORMS = {
    "squared": ("squared", lambda r: (np.abs(r) + PUSH) ** 2),
    "absolute": ("absolute", lambda r: np.abs(r) + PUSH),
    "over": ("over", lambda r: np.maximum(r + PUSH, 0)),
    "under": ("under", lambda r: np.maximum(PUSH - r, 0)),
    "pinball": (Pinball(0.8), lambda r: np.maximum(pinball(r + PUSH, 0.8), pinball(r - PUSH, 0.8))),
    "pinball, end": (Pinball(1.0), lambda r: np.maximum(PUSH - r, 0)),
}


@pytest.mark.parametrize("attack", ["exact", "auto", "pgd"])
@pytest.mark.parametrize("name", FORMS)
def test_closed_form(name, attack):
    loss, form = FORMS[name]
    worst = worst_case(MODEL, ROWS, y, radius=0.3, loss=loss, attack=attack, random_state=0)
    if attack == "pgd":
        assert (worst.value <= form(RESIDUAL) + 1e-8).all()  # it may walk the wrong way
    else:
        np.testing.assert_allclose(worst.value, form(RESIDUAL), rtol=1e-9, atol=1e-9)
    weight = np.arange(60.0)
    score = robust_loss(MODEL, ROWS, y, radius=0.3, loss=loss, attack="exact", sample_weight=weight)
    assert score == pytest.approx(np.average(form(RESIDUAL), weights=weight))


def test_radius_zero_is_the_loss_of_scikit_learn():
    for alpha in (0.1, 0.5, 0.9):
        expected = mean_pinball_loss(y, MODEL.predict(ROWS), alpha=alpha)
        assert robust_loss(MODEL, ROWS, y, radius=0, loss=Pinball(alpha)) == pytest.approx(expected)
    assert robust_loss(MODEL, ROWS, y, radius=0, loss="over") == pytest.approx(
        np.maximum(RESIDUAL, 0).mean()
    )


def test_networks_scorers_and_curves_take_them():
    model = MLPRegressor(hidden_layer_sizes=(20,), max_iter=500, random_state=0).fit(X, y)
    for loss in ("over", "under", Pinball(0.9)):
        curve = robustness_curve(model, X, y, radii=[0, 0.1, 0.3], loss=loss, random_state=0)
        assert (np.diff(curve.attacked) > 0).all()
        scorer = RobustScorer(radius=0.3, metric="neg_robust_loss", loss=loss, random_state=0)
        assert scorer(model, X, y) == pytest.approx(-curve.attacked[-1], rel=0.02)
        pickle.loads(pickle.dumps(scorer))


def test_several_outputs_are_averaged():
    two = LinearRegression().fit(ROWS, np.stack([y, -2 * y], axis=1))
    found = robust_loss(two, ROWS, np.stack([y, -2 * y], axis=1), radius=0, loss="over")
    expected = (np.maximum(RESIDUAL, 0) + np.maximum(-2 * RESIDUAL, 0)).mean() / 2
    assert found == pytest.approx(expected)


def test_bad_losses():
    with pytest.raises(ValueError, match="loss='huber'.*'over'.*Pinball"):
        robust_loss(MODEL, ROWS, y, radius=0.1, loss="huber")
    with pytest.raises(ValueError, match=r"alpha=1\.5"):
        Pinball(1.5)


def test_seconds_and_evaluations_are_reported():
    worst = worst_case(MODEL, ROWS, y, radius=0.3, random_state=0)
    assert worst.seconds > 0 and (worst.n_forward > 0).all()
