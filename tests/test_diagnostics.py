"""Masked defences are flagged by the right check; sound models raise no alarm."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier
from sklearn.model_selection import train_test_split
from sklearn.naive_bayes import GaussianNB
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, SVR
from torch import nn

from skrobust import LpBall, RobustClassifier
from skrobust.attacks import APGD, Attack, Moved
from skrobust.exceptions import ThreatNotBoundError
from skrobust.inspection import Finding, diagnose
from skrobust.inspection._finding import TITLES

CODES = [f"D{k}" for k in range(1, 13)]


@functools.cache
def digits():
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, train_size=600, test_size=120, random_state=0, stratify=y)


@functools.cache
def cells():
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return train_test_split(X, y, test_size=200, random_state=0, stratify=y)


class Torch:
    """An object that is all torch."""

    def __init__(self, module):
        self.module = module.eval()

    def __skrobust_torch__(self):
        return self.module


class Around(nn.Module):
    """``forward(net, x)`` around a trained network."""

    def __init__(self, net, forward):
        super().__init__()
        self.net, self._forward = net, forward

    def forward(self, x):
        return self._forward(self.net, x)


class Winners(nn.Module):
    """k-winners-take-all: the largest activations pass, all others are 0."""

    def forward(self, h):
        least = h.topk(max(1, h.shape[1] // 8), dim=1).values[:, -1:]
        return h * (h >= least)


def network(n_inputs, n_outputs, activation=nn.ReLU, width=64):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(n_inputs, width),
            activation(),
            nn.Linear(width, width),
            activation(),
            nn.Linear(width, n_outputs),
        )


def trained(net, data, n_epochs=30, single_step=0.0):
    """Plain training, or adversarial training with one full step and no random start."""
    x, y = torch.tensor(data[0], dtype=torch.float32), torch.tensor(data[2])
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    order = torch.Generator().manual_seed(0)
    loss = nn.functional.cross_entropy
    for _ in range(n_epochs):
        for rows in torch.randperm(len(x), generator=order).split(64):
            z = x[rows]
            if single_step:
                z = z.clone().requires_grad_(True)
                (slope,) = torch.autograd.grad(loss(net(z), y[rows]), z)
                z = (z + single_step * slope.sign()).detach()
            optimizer.zero_grad()
            loss(net(z), y[rows]).backward()
            optimizer.step()
    return net


@functools.cache
def plain():
    return trained(network(64, 10), digits())


@functools.cache
def defence(name):
    net = plain()
    if name == "k-winners-take-all":
        return trained(network(64, 10, Winners), digits())
    if name == "collapsed single step":
        return trained(network(64, 10, width=128), digits(), 60, single_step=0.3)
    around = {
        "quantised input": lambda net, x: net((4 * x).round() / 4),
        "softmax as logits": lambda net, x: net(x).softmax(dim=1),
        "temperature 1000": lambda net, x: 1000 * net(x),
        "temperature 1/1000": lambda net, x: net(x) / 1000,
        "noisy inference": lambda net, x: net(x + 0.02 * torch.randn_like(x)),
        "detached graph": lambda net, x: net(x.detach()),
        "dead units": lambda net, x: net(torch.where(torch.relu(x - 9) > 0, x, x.detach())),
    }
    return Around(net, around[name])


def failed(findings):
    return [finding.code for finding in findings if finding.ok is False]


@pytest.mark.parametrize(
    ("name", "code", "radius"),
    [
        ("k-winners-take-all", "D11", 0.1),
        ("quantised input", "D3", 0.1),
        ("softmax as logits", "D2", 0.1),
        ("temperature 1000", "D4", 0.1),
        ("temperature 1/1000", "D4", 0.1),
        ("noisy inference", "D1", 0.1),
        ("detached graph", "D3", 0.1),
        ("collapsed single step", "D5", 0.3),
        ("dead units", "D3", 0.1),
    ],
)
def test_masked_defence_is_flagged(name, code, radius):
    _, X, _, y = digits()
    findings = diagnose(Torch(defence(name)), X, y, radius=radius, random_state=0)
    assert [finding.code for finding in findings] == CODES
    assert code in failed(findings)
    advice = next(finding.advice for finding in findings if finding.code == code)
    assert len(advice) > 60
    if name in ("quantised input", "detached graph"):  # blind gradients fail more than one check
        assert {"D3", "D9", "D10"} <= set(failed(findings))


class Softmaxed(nn.Module):
    def __init__(self, shape, n_outputs):
        super().__init__()
        self.net = network(shape, n_outputs)

    def forward(self, x):
        return self.net(x).softmax(dim=1)


def test_a_factory_inside_our_own_estimator_is_flagged_too():
    X_train, X, y_train, y = cells()
    model = RobustClassifier(Softmaxed, smoothing=0, max_epochs=5, random_state=0)
    model = make_pipeline(StandardScaler(), model).fit(X_train, y_train)
    assert "D2" in failed(diagnose(model, X, y, radius=0.2, random_state=0))


def test_one_column_that_is_a_probability():
    _, X, _, y = cells()
    net = trained(network(30, 2), cells(), 10)
    sigmoid = Around(net, lambda net, x: net(x).softmax(dim=1)[:, 1:])
    logit = Around(net, lambda net, x: net(x)[:, 1:] - net(x)[:, :1])
    by_half = diagnose(Torch(sigmoid), X, y, radius=0.2, random_state=0)
    assert "D2" in failed(by_half)
    assert failed(diagnose(Torch(logit), X, y, radius=0.2, random_state=0)) == []


SOUND = {
    "logistic": LogisticRegression(),
    "ridge": RidgeClassifier(),
    "svc": SVC(),
    "mlp": MLPClassifier(max_iter=300, random_state=0),
    "forest": RandomForestClassifier(30, random_state=0),
    "naive bayes": GaussianNB(),
    "lda": LinearDiscriminantAnalysis(),
    "undefended": RobustClassifier(smoothing=0, max_epochs=15, random_state=0),
    "trades": RobustClassifier(max_epochs=15, random_state=0),
    "adversarial": RobustClassifier(divergence="loss", max_epochs=15, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", SOUND)
@pytest.mark.parametrize(
    ("data", "radius"), [(cells, 0.3), (digits, 0.08)], ids=["cells", "digits"]
)
def test_sound_model_raises_no_alarm(name, data, radius):
    X_train, X, y_train, y = data()
    model = SOUND[name].fit(X_train, y_train)
    rows = 60 if name == "forest" else 200
    findings = diagnose(model, X, y, radius=radius, random_state=0, max_rows=rows)
    assert [f for f in findings if f.ok is False] == []
    applies = {finding.code for finding in findings if finding.ok}
    assert applies >= ({"D1", "D6", "D8", "D10", "D12"} if name == "forest" else set(CODES))


def test_undefended_is_told_from_collapsed():
    """Both are broken by twenty steps; only one of them resists a single one."""
    _, X, _, y = digits()
    for radius in (0.1, 0.3):
        findings = diagnose(Torch(plain()), X, y, radius=radius, random_state=0)
        assert findings[4].ok and findings[4].code == "D5"


# Other kinds of model -------------------------------------------------------------------------


def numbers():
    X, y = load_diabetes(return_X_y=True)
    return StandardScaler().fit_transform(X), (y - y.mean()) / y.std()


@pytest.mark.parametrize("model", [LinearRegression(), SVR()], ids=["linear", "svr"])
def test_sound_regressor(model):
    X, y = numbers()
    findings = diagnose(model.fit(X, y), X, y, radius=0.2, random_state=0, max_rows=100)
    assert failed(findings) == []
    assert [finding.code for finding in findings if finding.ok is None] == ["D2", "D4"]


class Values(RegressorMixin, BaseEstimator):
    """A regressor that is all torch."""

    def __init__(self, forward):
        self.forward = forward

    def __skrobust_torch__(self):
        return Around(None, lambda net, x: self.forward(x))


def test_regressor_with_a_cut_graph():
    X, y = numbers()
    model = Values(lambda x: x.detach().sum(dim=1, keepdim=True))
    assert {"D3", "D9", "D10"} <= set(failed(diagnose(model, X, y, radius=0.2, random_state=0)))


class Dice(ClassifierMixin, BaseEstimator):
    """A black box that throws dice."""

    classes_ = np.array([0, 1])

    def __init__(self):
        self.random = np.random.RandomState(0)

    def predict(self, X):
        return (X[:, 0] + 0.5 * self.random.normal(size=len(X)) > 0).astype(int)


def test_noisy_black_box():
    _, X, _, y = cells()
    findings = diagnose(Dice(), X, y, radius=0.2, random_state=0, max_rows=40)
    assert "D1" in failed(findings)
    assert next(f for f in findings if f.code == "D9").ok is None


def test_model_that_ignores_its_input_or_is_always_wrong():
    _, X, _, y = cells()
    constant = Torch(Around(None, lambda net, x: 0 * x[:, :2] + torch.tensor([0.0, 5.0])))
    findings = diagnose(constant, X, y, radius=0.2, random_state=0)
    assert failed(findings) == [] and findings[2].ok is None
    wrong = diagnose(constant, X[y == 0], y[y == 0], radius=0.2, random_state=0)
    assert [finding.code for finding in wrong if finding.ok is not None] == ["D1", "D2"]


# The attack in question -----------------------------------------------------------------------


class Cheat(Attack):
    """Moves rows further than it may."""

    def maximize(self, fn, x, threat, radius, start=None, *, generator=None):
        count = torch.ones(len(x), dtype=torch.long)
        return Moved(x + 10, fn(x + 10), count, count)


def test_moved_rows_are_checked():
    X_train, X, y_train, y = cells()
    model = LogisticRegression().fit(X_train, y_train)
    findings = diagnose(model, X, y, radius=0.2, attack=Cheat(), random_state=0)
    assert findings[-1].ok is False and findings[-1].value > 0.9


def test_an_attack_of_few_steps_has_not_converged():
    _, X, _, y = digits()
    weak = APGD(n_steps=1)
    findings = diagnose(Torch(plain()), X, y, radius=0.06, attack=weak, random_state=0)
    assert "D7" in failed(findings)
    strong = diagnose(Torch(plain()), X, y, radius=0.06, attack="thorough", random_state=0)
    assert failed(strong) == []


def test_remarks_name_columns():
    pandas = pytest.importorskip("pandas")
    _, X, _, y = cells()
    names = [f"c{j}" for j in range(30)]
    X = pandas.DataFrame(X, columns=names)
    X["c3"] = (X["c3"] > 0).astype(int)
    model = LogisticRegression().fit(X, y)
    last = diagnose(model, X, y, radius=0.2, random_state=0)[-1]
    assert last.ok and "c3" in last.advice and "freeze" in last.advice


# What a caller relies on ----------------------------------------------------------------------


def test_same_seed_same_findings_and_no_trace():
    _, X, _, y = digits()
    model = Torch(defence("noisy inference"))
    torch.manual_seed(3)
    np.random.seed(3)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = diagnose(model, X, y, radius=0.1, random_state=1, max_rows=50)
    assert torch.equal(before[0], torch.get_rng_state())
    assert np.array_equal(before[1], np.random.get_state()[1])
    assert first == diagnose(model, X, y, radius=0.1, random_state=1, max_rows=50)


def test_finding_reads_well():
    finding = Finding("D1", False, 0.5, "Half of them.", TITLES["D1"], "net")
    assert str(finding) == "[net] D1  FAILED  Two calls agree: Half of them."
    assert finding.verdict == "FAILED" and Finding("D2", None, None, "").verdict == "does not apply"
    assert list(TITLES) == CODES


def test_bad_input():
    X_train, X, y_train, y = cells()
    model = LogisticRegression().fit(X_train, y_train)
    with pytest.raises(ValueError, match="radius=0"):
        diagnose(model, X, y, radius=0)
    with pytest.raises(ValueError, match="max_rows=5"):
        diagnose(model, X, y, radius=0.1, max_rows=5)
    with pytest.raises(ThreatNotBoundError):
        diagnose(model, X, y, radius=0.1, threat=LpBall(scale="std"))
