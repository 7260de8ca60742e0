"""The functions drawn are those of the model."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.ensemble import GradientBoostingClassifier, GradientBoostingRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skrobust import AdditiveDisplay, LpBall, RobustClassifier, RobustRegressor
from skrobust.exceptions import UnsupportedEstimatorError

X, Y = load_iris(return_X_y=True, as_frame=True)


def added(display, rows):
    """What the drawn functions say of rows, up to a constant."""
    total = np.zeros(len(rows))
    for shape in display.shapes:
        total += shape.values[np.searchsorted(shape.edges, rows[shape.name])]
    return total


@pytest.mark.parametrize("scaled", [False, True])
def test_functions_add_up_to_the_logit(scaled):
    model = RobustClassifier("additive", radius=0.2, max_epochs=5)
    model = make_pipeline(StandardScaler(), model) if scaled else model
    model.fit(X, Y == 1)
    display = AdditiveDisplay.from_estimator(model, X, radius=0.1)
    rest = model.decision_function(X) - added(display, X)
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
    for shape in display.shapes:
        line = shape.values[np.searchsorted(shape.edges, shape.grid)]
        assert (shape.least <= line).all() and (line <= shape.most).all()
    assert abs(added(display, X).mean()) < 1e-9


def test_bands_are_what_a_column_can_be_moved_to():
    model = RobustRegressor("additive", radius=0.1, max_epochs=5).fit(X, X.iloc[:, 2] ** 2)
    frozen = LpBall(frozen=[2])
    display = AdditiveDisplay.from_estimator(model, X, radius=0.4, threat=frozen)
    by_name = {shape.name: shape for shape in display.shapes}
    np.testing.assert_array_equal(*(getattr(by_name[X.columns[2]], w) for w in ("least", "most")))
    wide = AdditiveDisplay.from_estimator(model, X, radius=0.4).shapes[0]
    assert wide.name == X.columns[2]
    row = X.iloc[:1].copy()
    reach = []
    for at in np.linspace(-0.4, 0.4, 401):
        row[wide.name] = wide.grid[200] + at
        reach.append(model.predict(row)[0])
    assert np.ptp(reach) == pytest.approx(wide.most[200] - wide.least[200])


def test_stumps_can_be_drawn_and_deep_trees_cannot():
    stump = GradientBoostingRegressor(max_depth=1, n_estimators=1).fit(X, X.iloc[:, 0])
    assert len(AdditiveDisplay.from_estimator(stump, X, radius=0.1).shapes) == 1
    deep = GradientBoostingClassifier(n_estimators=3).fit(X, Y)
    with pytest.raises(UnsupportedEstimatorError, match="single columns"):
        AdditiveDisplay.from_estimator(deep, X, radius=0.1)


def test_three_classes_have_functions_each():
    model = RobustClassifier("additive", radius=0.2, max_epochs=5).fit(X, Y)
    with pytest.raises(ValueError, match="label"):
        AdditiveDisplay.from_estimator(model, X, radius=0.1)
    display = AdditiveDisplay.from_estimator(model, X, radius=0.1, label=2)
    assert display.output == "added to the logit of 2"


def test_it_draws():
    pytest.importorskip("matplotlib").use("Agg")
    model = RobustClassifier("additive", radius=0.2, max_epochs=5).fit(X, Y == 1)
    display = AdditiveDisplay.from_estimator(model, X, radius=0.1).plot(max_features=3)
    assert len(display.axes_) == 3
    assert display.axes_[0].get_title() == display.shapes[0].name
    assert set(display.frame().columns) == {"feature", "above", "up to", "adds"}
