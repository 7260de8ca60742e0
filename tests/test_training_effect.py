"""Robust training pays, on real data: 15 points or more where plain training fails."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_wine
from sklearn.model_selection import train_test_split

from skrobust import LpBall, RobustClassifier, RobustRegressor, robust_loss, robustness_curve
from skrobust.datasets import fashion_mnist_available, load_digits_images, load_fashion_mnist


def digits():
    X, y = load_digits(return_X_y=True)
    return X / 16, y


# data, threat, radius, epochs, smoothing
TABLE = {
    "breast cancer": (
        lambda: load_breast_cancer(return_X_y=True),
        LpBall(scale="std"),
        0.5,
        30,
        1.0,
    ),
    "wine": (lambda: load_wine(return_X_y=True), LpBall(scale="std"), 0.75, 60, 1.0),
    "digits as a table": (digits, LpBall(bounds=(0, 1)), 0.1, 12, 1.0),
    "digits as a table, l2": (digits, LpBall("l2"), 0.5, 12, 1.0),
    "digits as images": (
        lambda: load_digits_images(return_X_y=True),
        LpBall(bounds=(0, 1)),
        0.1,
        10,
        2.0,
    ),
}


def curves(X, y, X_test, y_test, threat, radius, max_epochs, smoothing):
    """Clean and attacked accuracy of plain and of robust training."""
    found = []
    X_test, y_test = X_test[:200], y_test[:200]
    for weight in (0.0, smoothing):
        model = RobustClassifier(
            threat=threat, radius=radius, smoothing=weight, random_state=0, max_epochs=max_epochs
        ).fit(X, y)
        bound = threat.bind(X)
        found.append(
            robustness_curve(model, X_test, y_test, radii=[radius], threat=bound, random_state=0)
        )
    return found


def check(plain, robust, name):
    gain = robust.attacked[0] - plain.attacked[0]
    print(
        f"{name}: clean {plain.clean:.1%} -> {robust.clean:.1%}, "
        f"robust {plain.attacked[0]:.1%} -> {robust.attacked[0]:.1%}"
    )
    assert gain >= 0.15
    assert plain.attacked[0] < 0.6
    assert robust.clean > plain.clean - 0.1


@pytest.mark.filterwarnings("ignore:.*column.s. of X hold one value")  # dark corners of digits
@pytest.mark.parametrize("name", TABLE)
def test_robust_accuracy_rises_by_15_points(name):
    load, *setting = TABLE[name]
    X, y = load()
    X, X_test, y, y_test = train_test_split(X, y, random_state=0, stratify=y)
    check(*curves(X, y, X_test, y_test, *setting), name)


@pytest.mark.proof
@pytest.mark.skipif(not fashion_mnist_available(), reason="Fashion-MNIST is not on this machine")
def test_robust_accuracy_rises_on_fashion_mnist():
    X, y = load_fashion_mnist(subset="train", n_rows=3000, random_state=0, return_X_y=True)
    X_test, y_test = load_fashion_mnist(subset="test", n_rows=300, random_state=0, return_X_y=True)
    check(*curves(X, y, X_test, y_test, LpBall(bounds=(0, 1)), 0.1, 6, 2.0), "Fashion-MNIST")


def test_robust_regression_loses_less_under_attack():
    X, y = load_diabetes(return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, random_state=0)
    radius = 0.02  # 0.42 standard deviations of every column
    losses = {
        smoothing: robust_loss(
            RobustRegressor(radius=radius, smoothing=smoothing, max_epochs=30, random_state=0).fit(
                X, y
            ),
            X_test,
            y_test,
            radius=radius,
            attack="apgd",
        )
        for smoothing in (0.0, 1.0)
    }
    assert losses[1.0] < 0.5 * losses[0.0]
    assert losses[1.0] < 1.5 * np.var(y_test)
