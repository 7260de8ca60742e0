"""Bounds of networks: never passed, in every layer, norm and shape; tight where they must be."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from skrobust._torch import margins
from skrobust.attacks import APGD, PGD, Objective
from skrobust.bounds import (
    Box,
    Crown,
    Interval,
    Lipschitz,
    Scale,
    register_layer,
    supported_layers,
    trace,
)
from skrobust.bounds._curves import CURVES
from skrobust.bounds._lipschitz import constant
from skrobust.exceptions import UnsupportedEstimatorError
from skrobust.threats import LpBall


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        hidden = torch.relu(self.first(x))
        hidden = hidden + 0.5 * self.second(hidden) - 0.1
        hidden = torch.cat([hidden, -x / 2], dim=1)
        return hidden.view(hidden.size(0), -1)


class ImageBlock(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 1, 3, padding=1), nn.BatchNorm2d(1)

    def forward(self, x):
        x = x + nn.functional.silu(self.norm(self.conv(x)))
        x = nn.functional.max_pool2d(x, 2)
        return torch.flatten(nn.functional.adaptive_avg_pool2d(x, (2, 2)), 1)


def dense(activation):
    return nn.Sequential(nn.Linear(2, 8), activation, nn.Linear(8, 8), activation, nn.Linear(8, 3))


def normed(*shape):
    layer = (nn.BatchNorm1d if len(shape) < 3 else nn.BatchNorm2d)(shape[0])
    layer.running_mean.normal_()
    layer.running_var.uniform_(0.5, 2.0)
    return layer


NETS = {
    **{kind.__name__: ((2,), lambda kind=kind: dense(kind())) for kind in CURVES},
    "GELU tanh": ((2,), lambda: dense(nn.GELU(approximate="tanh"))),
    "LeakyReLU -.5": ((2,), lambda: dense(nn.LeakyReLU(-0.5))),
    "LeakyReLU 3": ((2,), lambda: dense(nn.LeakyReLU(3.0))),
    "Softplus 3": ((2,), lambda: dense(nn.Softplus(3.0, threshold=2.0))),
    "ELU .5": ((2,), lambda: dense(nn.ELU(0.5))),
    "ELU 2": ((2,), lambda: dense(nn.ELU(2.0))),
    "dropout, norm": (
        (3,),
        lambda: nn.Sequential(
            nn.Linear(3, 6), normed(6), nn.ReLU(), nn.Dropout(), nn.Identity(), nn.Linear(6, 3)
        ),
    ),
    "two affine": (
        (3,),
        lambda: nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3)),
    ),
    "residual": ((4,), lambda: nn.Sequential(Residual(), nn.ReLU(), nn.Linear(8, 3))),
    "series": (
        (2, 9),
        lambda: nn.Sequential(
            nn.Conv1d(2, 3, 3, padding=1, stride=2),
            normed(3, 5),
            nn.SiLU(),
            nn.MaxPool1d(2, ceil_mode=True),
            nn.AvgPool1d(2),
            nn.Flatten(),
            nn.Linear(3, 3),
        ),
    ),
    "image": (
        (1, 7, 7),
        lambda: nn.Sequential(
            nn.Conv2d(1, 2, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(3, stride=2, padding=1),
            nn.Conv2d(2, 2, 2, dilation=2, padding_mode="circular", padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(8, 3),
        ),
    ),
    "image block": ((1, 8, 8), lambda: nn.Sequential(ImageBlock(), nn.Linear(4, 3))),
}
THREATS = {
    "linf": LpBall("linf"),
    "l2": LpBall("l2"),
    "l1": LpBall("l1"),
    "l2 in bounds": LpBall("l2", bounds=(-1.0, 1.0)),
    "l1, scales": LpBall("l1", scale=2.0),
    "linf, one way": LpBall("linf", direction={0: "up"}, bounds=(-1.0, 1.0)),
}


def made(name, seed=0, n=12):
    shape, make = NETS[name]
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = make().double().eval().requires_grad_(False)
        for part in net.modules():
            if isinstance(part, (nn.Linear, nn.Conv1d, nn.Conv2d)):
                part.weight.mul_(2.0)
        x = 2 * torch.rand(n, *shape, dtype=torch.float64) - 1
    return net, trace(net, shape), x


def random_places(region, n=40, seed=0):
    """(2 n, n_rows, ...): inside, and where random linear functions are largest."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.arange(len(region.x)).repeat(n)
    many = region.take(rows)
    way = torch.randn(many.x.shape, dtype=many.x.dtype, generator=generator)
    return torch.cat([many.sample(generator), many.steepest(way)]).view(2 * n, *region.x.shape)


@pytest.mark.parametrize("threat", THREATS)
@pytest.mark.parametrize("name", NETS)
def test_nothing_passes_a_bound(name, threat):
    net, graph, x = made(name)
    torch.testing.assert_close(graph.forward(x), net(x))
    for radius in (0.0, 0.1, 1.0):
        region = THREATS[threat].region(x, radius)
        loose, tight = Interval().outputs(graph, region), Crown().outputs(graph, region)
        slack = 1e-9 * (1 + loose.high.abs() + loose.low.abs())
        assert (tight.low >= loose.low - slack).all()
        assert (tight.high <= loose.high + slack).all()
        places = random_places(region)
        found = net(places.flatten(0, 1)).view(*places.shape[:2], -1)
        assert (found >= tight.low - slack).all()
        assert (found <= tight.high + slack).all()
        if radius == 0 and name != "Softplus 3":  # which is cut off early
            torch.testing.assert_close(tight.low, net(x))
            torch.testing.assert_close(loose.high, net(x))


@pytest.mark.parametrize("norm", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", NETS)
def test_no_attack_breaks_a_margin(name, norm):
    net, graph, x = made(name)
    label = net(x).argmax(dim=1)
    region = LpBall(norm).region(x, 0.2)
    proven = Crown().margin(graph, region, label)
    assert (proven >= Interval().margin(graph, region, label) - 1e-9).all()
    objective = Objective(lambda z, y: -margins(net(z), y), label)
    for attack in (PGD(n_steps=10), APGD(n_steps=20)):
        found = attack.maximize(
            objective, x, LpBall(norm), 0.2, generator=torch.Generator().manual_seed(0)
        )
        assert (-found.value >= proven - 1e-9).all()


@pytest.mark.parametrize("kind", ["ReLU", "SiLU", "GELU", "Tanh", "LeakyReLU -.5"])
def test_against_a_fine_grid_in_two_dimensions(kind):
    net, graph, x = made(kind, n=5)
    steps = torch.linspace(-1, 1, 201, dtype=torch.float64)
    grid = torch.cartesian_prod(steps, steps)
    label = net(x).argmax(dim=1)
    for radius in (0.01, 0.1, 0.5):
        places = x[:, None] + radius * grid
        truth = margins(net(places.view(-1, 2)), label.repeat_interleave(len(grid)))
        truth = truth.view(len(x), -1).amin(dim=1)
        region = LpBall().region(x, radius)
        loose = Interval().margin(graph, region, label)
        tight = Crown().margin(graph, region, label)
        assert (loose <= tight + 1e-9).all()
        assert (tight <= truth + 1e-9).all()
        if radius == 0.01:  # nearly linear there: the gap is of second order
            at = margins(net(x), label)
            assert ((truth - tight) <= 0.5 * (at - truth)).all()


@pytest.mark.parametrize("threat", THREATS)
def test_affine_networks_are_exact(threat):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)).double().requires_grad_(False)
        x = 2 * torch.rand(6, 3, dtype=torch.float64) - 1
    label = net(x).argmax(dim=1)
    region = THREATS[threat].region(x, 0.3)
    weight = net[1].weight @ net[0].weight
    worst = torch.full((6,), torch.inf, dtype=torch.float64)
    for k in range(3):  # the worst place for each pair of classes is that of a linear function
        z = region.steepest(weight[k] - weight[label])
        gap = (net(z).gather(1, label[:, None]) - net(z)[:, k : k + 1])[:, 0]
        worst = torch.minimum(worst, torch.where(label == k, torch.inf, gap))
    for bounder in (Interval(), Crown()):
        torch.testing.assert_close(bounder.margin(trace(net, (3,)), region, label), worst)


@pytest.mark.parametrize("name", [*(kind.__name__ for kind in CURVES), "GELU tanh", "ELU .5"])
def test_lines_enclose_the_curve(name):
    curve = trace(NETS[name][1](), (2,)).nodes[2].op
    layer = NETS[name][1]()[1]
    rng = np.random.default_rng(0)
    low = torch.as_tensor(rng.normal(0, 4, 400))
    high = low + torch.as_tensor(10.0 ** rng.uniform(-6, 2, 400))
    lines, image = curve.lines(Box(low, high)), curve.interval(Box(low, high))
    for share in torch.linspace(0, 1, 301, dtype=torch.float64):
        x = low + share * (high - low)
        y = layer(x)
        slack = 1e-12 * (1 + y.abs() + lines.low_height.abs() + (lines.low_slope * x).abs())
        assert (lines.low_slope * x + lines.low_height <= y + slack).all()
        assert (lines.high_slope * x + lines.high_height >= y - slack).all()
        assert (image.low <= y + slack).all()
        assert (image.high >= y - slack).all()


@pytest.mark.parametrize("kind", [nn.SiLU(), nn.GELU(), nn.GELU(approximate="tanh")])
def test_dips_are_inside(kind):
    """The image of [-3, 0] is not that of its end points; the minimum is scipy's."""
    from scipy.optimize import minimize_scalar

    f = lambda value: float(kind(torch.tensor(value, dtype=torch.float64)))
    truth = minimize_scalar(f, bounds=(-3, 0), options={"xatol": 1e-12}).fun
    x = torch.full((1, 1), -1.5, dtype=torch.float64)
    low, high = Interval().bound(kind, x, "linf", 1.5)
    assert low.item() == pytest.approx(truth, abs=1e-10)
    assert high.item() == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize(
    ("module", "named"),
    [
        (nn.Sequential(nn.Linear(4, 4), nn.Softmax(1)), "Softmax"),
        (nn.Sequential(nn.Linear(4, 4), nn.Sequential(nn.LayerNorm(4))), "LayerNorm"),
        (nn.BatchNorm1d(4, track_running_stats=False), "BatchNorm1d"),
        (nn.Bilinear(2, 2, 1), "Bilinear"),
        (nn.MaxPool1d(2, return_indices=True), "MaxPool1d"),
    ],
)
def test_unknown_layers_are_named(module, named):
    with pytest.raises(UnsupportedEstimatorError, match=named):
        trace(module, (4,))


def test_unknown_steps_of_a_forward_are_named():
    class Product(nn.Module):
        def forward(self, x):
            return torch.cumsum(x, dim=1)

    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    class Rows(nn.Module):
        def forward(self, x):
            return x.flatten(0)

    for module, named in ((Product(), "cumsum"), (Branch(), "Branch"), (Rows(), "Rows")):
        with pytest.raises(UnsupportedEstimatorError, match=named):
            trace(module, (4,))


def test_hooks_are_refused():
    layer = nn.Linear(2, 2)
    layer.register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedEstimatorError, match="hooks"):
        trace(layer, (2,))


def test_a_layer_of_ones_own():
    class Double(nn.Module):
        def forward(self, x):
            return 2 * x.cumsum(0)[: len(x)]  # nothing that could be followed

    class Changed(Double):
        def forward(self, x):
            return 3 * x.cumsum(0)

    register_layer(Double, lambda graph, at, layer: graph.add(Scale(2.0), at))
    assert "Double" in supported_layers()
    x = torch.ones(1, 1, dtype=torch.float64)
    low, high = Interval().bound(Double(), x, "linf", 0.5)
    assert (low.item(), high.item()) == pytest.approx((1.0, 3.0))
    with pytest.raises(UnsupportedEstimatorError):
        trace(Changed(), (1,))


def test_bounds_hold_in_float32_and_carry_gradients():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 8), normed(8), nn.SiLU(), nn.Linear(8, 3)).eval()
    x = torch.zeros(4, 3)
    margin = Interval().margin(trace(net, (3,)), LpBall().region(x, 0.1), torch.zeros(4).long())
    margin.sum().backward()
    assert margin.dtype == torch.float32
    for name, parameter in net.named_parameters():
        assert parameter.grad.abs().sum() > 0 or name == "1.bias", name
    step = 1e-3
    with torch.no_grad():
        before, slope = margin.sum(), net[0].weight.grad[0, 0].clone()
        net[0].weight[0, 0] += step
        after = (
            Interval()
            .margin(trace(net, (3,)), LpBall().region(x, 0.1), torch.zeros(4).long())
            .sum()
        )
    assert (after - before) / step == pytest.approx(float(slope), abs=2e-2)


@pytest.mark.parametrize("norm", ["l2", "l1", "linf"])
@pytest.mark.parametrize("name", [name for name in NETS if name not in ("ELU 2", "SELU")])
def test_lipschitz_constants_are_never_passed(name, norm):
    net, graph, x = made(name)
    region = LpBall(norm, scale=0.5).region(x, 0.4)
    bounds = Lipschitz().outputs(graph, region)
    places = random_places(region)
    found = net(places.flatten(0, 1)).view(*places.shape[:2], -1)
    slack = 1e-3 if name == "Softplus 3" else 1e-9  # torch cuts it off early
    assert (found >= bounds.low - slack).all()
    assert (found <= bounds.high + slack).all()
    assert torch.isfinite(bounds.low).all()
    at_x = Lipschitz().outputs(graph, LpBall(norm).region(x, 0.0))
    torch.testing.assert_close(at_x.low, net(x))


def test_lipschitz_constant_of_one_layer_is_its_largest_singular_value():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(5, 3).double().requires_grad_(False)
        conv = nn.Conv2d(1, 2, 3, padding=1, bias=False).double().requires_grad_(False)
    assert constant(trace(net, (5,))) == pytest.approx(np.linalg.norm(net.weight.numpy(), 2))
    eye = torch.eye(25, dtype=torch.float64).view(25, 1, 5, 5)
    matrix = conv(eye).flatten(1).numpy()
    assert constant(trace(conv, (1, 5, 5))) == pytest.approx(np.linalg.norm(matrix, 2))


def test_lipschitz_bound_of_a_large_convolution_holds():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        conv = nn.Conv2d(2, 8, 5, padding=2).double().requires_grad_(False)
    rate = constant(trace(conv, (2, 20, 20)))
    v = torch.ones(1, 2, 20, 20, dtype=torch.float64)
    zero = conv(0 * v)
    for _ in range(50):  # power iteration: a lower estimate of the truth
        v.requires_grad_(True)
        out = conv(v) - zero
        (v,) = torch.autograd.grad(out, v, out.detach())
        v = (v / v.norm()).detach()
    truth = (conv(v) - zero).norm().item()
    assert truth <= rate <= 4 * truth


@pytest.mark.parametrize("kind", [nn.GELU(approximate="tanh"), nn.GELU(), nn.SiLU()])
def test_turning_points_are_all_there_are(kind):
    """The second derivative changes its sign where the record says, and nowhere else."""
    curve = CURVES[type(kind)](kind)
    x = torch.linspace(-12, 12, 240001, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(curve.f(x).sum(), x, create_graph=True)
    torch.testing.assert_close(slope, curve.slope(x), atol=1e-9, rtol=1e-7)
    (bend,) = torch.autograd.grad(slope.sum(), x)
    big = bend.abs() > 1e-12
    kept, at = bend[big].sign(), x[big].detach()
    changes = at[1:][kept[1:] != kept[:-1]]
    np.testing.assert_allclose(changes, sorted(curve.turns), atol=2e-4)


def test_lipschitz_constants_of_parallel_paths_add_up():
    class Sum(nn.Module):
        def forward(self, x):
            return x + x

    class Beside(nn.Module):
        def forward(self, x):
            return torch.cat([x, 3 * x], dim=1)

    assert constant(trace(Sum(), (4,))) >= 2 - 1e-9
    assert constant(trace(Beside(), (4,))) >= np.sqrt(10) - 1e-9
