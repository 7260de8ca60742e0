"""Business cases: by hand, by brute force, and that the intervals keep their promise."""

from __future__ import annotations

import math
import runpy
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from scipy import optimize
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor

from skrobust import business_case, expected_cost
from skrobust.inspection import BusinessCaseDisplay, Page
from skrobust.risk import RowCosts, rows_needed
from skrobust.risk._money import annuity, break_even, check_range, payback

matplotlib.use("Agg")

ROW = np.arange(40)


def wrong_on(clean, attacked, certified=None):
    """100 euros for each mistake; on the first rows as they are, and under attack."""
    counts = (clean, attacked) if certified is None else (clean, attacked, certified)
    return tuple(100.0 * (count > ROW) for count in counts)


CANDIDATES = {"plain": wrong_on(2, 20), "robust": wrong_on(3, 4, 8)}
OPTIONS = dict(volume=1000, attack_rate=(0.05, 0.2), random_state=0, n_bootstrap=300)


def by_hand(**options):
    return business_case(CANDIDATES, **(OPTIONS | options))


def test_worked_example():
    """The example of the guide.

    Of 40 rows, plain gets 2 wrong, and 20 under attack; robust 3, and 4. 1000 decisions a year, 100
    euros for each mistake. One decision costs plain 5, under attack 50; robust 7.50 and 10. A year:
    plain 5000 + 45000 rate, robust 7500 + 2500 rate, and 1000 of training over two years.
    """
    case = by_hand(training_price={"robust": 1000}, horizon=2, currency="EUR")
    assert case.yearly_cost(0.0) == pytest.approx([5000, 8000])
    assert case.yearly_cost(1.0) == pytest.approx([50_000, 10_500])
    assert case.yearly_cost() == pytest.approx([5000 + 45_000 / 8, 8000 + 2500 / 8])  # at 12.5%
    # 5000 + 45000 rate = 8000 + 2500 rate
    assert case.break_even("robust") == (pytest.approx(3000 / 42_500), "above")
    assert case.saving("robust") == pytest.approx(42_500 / 8 - 3000)  # 2312.50
    # without its training it saves 2812.50 a year: 1000 is back after 1000 / 2812.50 years
    assert case.payback("robust") == pytest.approx(1000 / 2812.5)
    assert case.gain("robust") == pytest.approx(2 * 2312.5)
    assert case.return_on_price("robust") == pytest.approx(4.625)
    # the proof allows 8 of 40 wrong: 2500 rate more becomes 12500 rate
    assert case.saving_at_least("robust") == pytest.approx((45_000 - 12_500) / 8 - 3000)
    words = case.sentence("robust")
    for part in ("2,310 EUR a year less", "7.06%", "after 0.36 years", "1,060 EUR a year less"):
        assert part in words


def test_break_even_is_where_the_costs_meet():
    """Closed form against a root finder, prices and discount included."""
    case = by_hand(
        training_price={"robust": 3000, "plain": 500}, running_price={"robust": 400},
        horizon=2.5, discount_rate=0.08,
    )  # fmt: skip
    root = optimize.brentq(lambda r: case.saving("robust", r), 0, 1)
    assert case.break_even("robust").rate == pytest.approx(root)
    costs = case.yearly_cost(root)
    assert costs[0] == pytest.approx(costs[1])


@pytest.mark.parametrize(
    ("savings", "rate", "cheaper"),
    [
        ((-1, 3), 0.25, "above"),
        ((3, -1), 0.75, "below"),
        ((1, 2), math.nan, "always"),
        ((0, 2), math.nan, "always"),
        ((-1, -2), math.nan, "never"),
        ((-1, 0), math.nan, "never"),
        ((0, 0), math.nan, "equal"),
    ],
)
def test_break_even_in_words(savings, rate, cheaper):
    found = break_even(*savings)
    assert found.cheaper == cheaper and found.rate == pytest.approx(rate, nan_ok=True)


def test_money_over_time():
    # three payments of 1, each worth 10% less after a year
    assert annuity(3, 0.1) == pytest.approx(1 / 1.1 + 1 / 1.1**2 + 1 / 1.1**3)
    assert annuity(4) == 4
    assert [payback(*p) for p in [(10, 5), (-10, 5), (0, 0), (5, -1)]] == [2, 0, math.inf, math.inf]
    assert check_range("x", 3) == (3, 3, 3) and check_range("x", (1, 4)) == (1, 2.5, 4)


def test_intervals_are_of_the_paired_bootstrap():
    """Resampled by hand, the same rows for both, the worst and best attack rate of each."""
    case = by_hand(n_bootstrap=2000)
    random, found = np.random.RandomState(7), []
    saving = 1000 * (CANDIDATES["plain"][0] - CANDIDATES["robust"][0])
    attacked = 1000 * (CANDIDATES["plain"][1] - CANDIDATES["robust"][1])
    for _ in range(4000):
        rows = random.randint(40, size=40)
        found.append([((1 - r) * saving + r * attacked)[rows].mean() for r in (0.05, 0.2)])
    found = np.array(found)
    expected = np.quantile(found.min(axis=1), 0.025), np.quantile(found.max(axis=1), 0.975)
    assert case.saving_interval("robust") == pytest.approx(expected, rel=0.12, abs=200)
    chances = [(((1 - r) * saving + r * attacked)[None]) for r in np.linspace(0.05, 0.2, 16)]
    share = np.mean(
        [
            np.mean([c[0][random.randint(40, size=40)].mean() > 0 for _ in range(300)])
            for c in chances
        ]
    )
    assert case.chance("robust") == pytest.approx(share, abs=0.04)


def test_interval_holds_for_the_worst_rate_of_the_range():
    """Seen from the other side all is mirrored: then the saving falls with the attack rate."""
    there, back = by_hand(), by_hand(baseline="robust")
    low, high = there.saving_interval("robust")
    assert back.saving_interval("plain") == pytest.approx((-high, -low))
    assert back.chance("plain") == pytest.approx(1 - there.chance("robust"), abs=1e-9)
    assert back.break_even("plain") == (there.break_even("robust").rate, "below")
    assert back.break_even_interval("plain") == pytest.approx(there.break_even_interval("robust"))


def test_break_even_interval_holds_the_truth():
    """A hundred samples of a population whose break-even rate is known."""
    random, held = np.random.RandomState(0), 0
    # clean mistakes 5% and 8%, attacked 50% and 10%: 3 points more against 43 points of slope
    for seed in range(100):
        hard = random.rand(400)
        costs = {
            "plain": ((hard < 0.05) * 1.0, (hard < 0.5) * 1.0),
            "robust": ((hard < 0.08) * 1.0, (hard < 0.10) * 1.0),
        }
        case = business_case(costs, volume=1, attack_rate=0.1, n_bootstrap=200, random_state=seed)
        low, high = case.break_even_interval("robust")
        held += low <= 0.03 / 0.43 <= high
    assert held >= 0.88 * 100  # 95% is promised, 88% is 3 standard deviations below


def test_verdicts():
    assert by_hand(attack_rate=(0.5, 1.0)).verdict("robust") == "go"
    assert by_hand(running_price={"robust": 1e6}).verdict("robust") == "no"
    case = by_hand()
    assert case.verdict("robust") == "open"
    assert "Open" in case.sentence("robust") and "rows tell" in case.sentence("robust")
    assert "not earned back within 1 year" in by_hand(training_price={"robust": 1e7}).sentence(
        "robust"
    )
    assert "never earned back" in by_hand(
        training_price={"robust": 10}, running_price={"robust": 1e6}
    ).sentence("robust")


def test_rows_that_tell_is_the_power_calculation():
    case = by_hand()
    one, two = case.costs["plain"], case.costs["robust"]
    apart = 0.875 * (one.clean - two.clean) + 0.125 * (one.attacked - two.attacked)
    expected = rows_needed(case.saving("robust") / 1000, sd=apart.std(ddof=1))
    assert case.rows_needed("robust") == expected > 40
    assert f"{expected:,} rows" in case.sentence("robust")
    sure = {name: tuple(np.tile(part, 40) for part in parts) for name, parts in CANDIDATES.items()}
    hangs = business_case(sure, **(OPTIONS | dict(attack_rate=(0, 0.5))))
    assert hangs.verdict("robust") == "open" and "narrow its range" in hangs.sentence("robust")


def test_sensitivity_is_one_assumption_at_a_time():
    prices = dict(training_price={"robust": (500, 1000, 4000)}, horizon=(1, 2, 5))
    case = by_hand(**prices)
    table = case.frame("sensitivity").set_index("assumption")
    fixed = OPTIONS | dict(training_price={"robust": 1000}, horizon=2, attack_rate=0.125)
    for name, change in {
        "attack rate": ("attack_rate", 0.05, 0.2),
        "decisions a year": ("volume", 800, 1200),
        "years of use": ("horizon", 1, 5),
        "training price of robust": ("training_price", {"robust": 500}, {"robust": 4000}),
    }.items():
        option, *ends = change
        for end, value in zip(("low", "high"), ends, strict=True):
            alone = business_case(CANDIDATES, **(fixed | {option: value}))
            seen = table.loc[name, f"saving_{end}"]
            assert seen == pytest.approx(alone.saving("robust")), name
    spans = (table.saving_high - table.saving_low).abs()
    assert spans.is_monotonic_decreasing
    assert table.loc["attacks as bad as the proof allows", "saving_high"] == case.saving_at_least(
        "robust"
    )


@pytest.fixture(scope="module")
def fitted():
    random = np.random.RandomState(0)
    X, y = random.normal(size=(300, 3)), None
    y = (X @ [1.0, 1.0, 0.3] + random.normal(size=300) > 0).astype(int)
    models = {
        "loose": LogisticRegression(C=100.0).fit(X[:150], y[:150]),
        "tight": LogisticRegression(C=0.001).fit(X[:150], y[:150]),
    }
    return models, X[150:], y[150:]


MATRIX = [[0, 1], [8, 0]]


def test_estimators_cost_what_expected_cost_says(fitted):
    models, X, y = fitted
    case = business_case(
        models, X, y, cost_matrix=MATRIX, radius=0.3, volume=100, attack_rate=0.4, n_bootstrap=100,
        random_state=0,
    )  # fmt: skip
    options = dict(cost_matrix=MATRIX, radius=0.3, attack_rate=0.4, random_state=0)
    expected = [100 * expected_cost(model, X, y, **options) for model in models.values()]
    assert case.yearly_cost() == pytest.approx(expected)
    assert case.certified == pytest.approx(case.means[:, 1])  # linear: the attack is exact
    assert "It is proven" in case.sentence("tight")


def test_classes_that_nobody_attacks(fitted):
    models, X, y = fitted
    options = dict(cost_matrix=MATRIX, radius=0.3, volume=1, n_bootstrap=100, random_state=0)
    case = business_case(models, X, y, attack_rate=0.4, exposed=[1], **options)
    expected = expected_cost(
        models["loose"], X, y, cost_matrix=MATRIX, radius=0.3, attack_rate={1: 0.4}, random_state=0
    )
    assert case.yearly_cost()[0] == pytest.approx(expected)


def test_range_of_radii_and_prices_of_classes(fitted):
    models, X, y = fitted
    options = dict(cost_matrix=MATRIX, volume=1, attack_rate=0.5, n_bootstrap=100, random_state=0)
    case = business_case(models, X, y, radius=(0.1, 0.3, 0.5), **options)
    table = case.frame("sensitivity").set_index("assumption")
    for end, radius in (("low", 0.1), ("high", 0.5)):
        alone = business_case(models, X, y, radius=radius, certify=False, **options)
        assert table.loc["radius", f"saving_{end}"] == pytest.approx(alone.saving("tight"))
    dearer = business_case(
        models, X, y, radius=0.3, **(options | dict(cost_matrix=[[0, 1], [8 * 1.2, 0]]))
    )
    assert table.loc["price of mistakes about 1", "saving_high"] == pytest.approx(
        dearer.saving("tight")
    )


def test_weights_are_repetitions(fitted):
    models, X, y = fitted
    weight = np.where(np.arange(len(y)) < 50, 3.0, 1.0)
    index = np.repeat(np.arange(len(y)), weight.astype(int))
    options = dict(
        cost_matrix=MATRIX, radius=0.2, volume=1, attack_rate=0.5, n_bootstrap=100, random_state=0
    )
    weighted = business_case(models, X, y, sample_weight=weight, **options)
    repeated = business_case(models, X[index], y[index], **options)
    assert weighted.means == pytest.approx(repeated.means)


def test_regressors_without_a_proof(fitted):
    _, X, _ = fitted
    y = X[:, 0]
    models = {f"k{k}": KNeighborsRegressor(k).fit(X[:60], y[:60]) for k in (1, 5)}
    case = business_case(
        models, X[100:110], y[100:110], cost_matrix={"over": 1, "under": 3}, radius=0.1, volume=10,
        attack_rate=(0, 0.1), n_bootstrap=100, random_state=0,
    )  # fmt: skip
    assert (case.means[:, 1] >= case.means[:, 0]).all() and case.yearly_cost().shape == (2,)


def test_same_seed_same_case_and_no_trace():
    before = np.random.get_state()[1].copy()
    first, again = by_hand(), by_hand()
    assert (first.draws == again.draws).all()
    assert (np.random.get_state()[1] == before).all()


def test_row_costs_can_be_brought():
    ones = np.ones(40)
    clean, attacked = CANDIDATES["plain"]
    brought = RowCosts(clean, attacked, None, ones, ones, ones)
    case = business_case({"plain": brought, "robust": CANDIDATES["robust"]}, **OPTIONS)
    assert case.yearly_cost() == pytest.approx(by_hand().yearly_cost())
    assert np.isnan(case.certified[0]) and case.certified[1] == 20


def test_tables_pictures_and_files(tmp_path):
    case = by_hand(training_price={"robust": 1000}, horizon=2, currency="EUR")
    summary = case.frame().set_index("candidate")
    assert summary.loc["robust", "break_even"] == pytest.approx(3000 / 42_500)
    assert summary.loc["plain", "verdict"] == "baseline"
    curve = case.frame("curve")
    at_0 = curve[curve.attack_rate == 0].yearly_cost.tolist()
    assert at_0 == pytest.approx([5000, 8000]) and curve.attack_rate.max() >= 0.4
    display = BusinessCaseDisplay.from_case(case)
    lines = {line.get_label(): line for line in display.ax_.get_lines()}
    assert lines["plain"].get_ydata() == pytest.approx(
        curve[curve.candidate == "plain"].yearly_cost.to_numpy()
    )
    texts = [text.get_text() for text in display.ax_.texts]
    assert texts == ["7.1%"]
    bars = BusinessCaseDisplay.from_case(case, kind="sensitivity").ax_
    assert len(bars.get_yticklabels()) == len(case.frame("sensitivity"))
    assert len(display.frame()) == len(curve)
    html = case.save(tmp_path / "case.html").read_text()
    assert html.startswith("<!DOCTYPE html>") and "7.06%" in html and html.count("<svg") == 2
    assert "http" not in html and " src=" not in html
    assert "<!DOCTYPE" not in case._repr_html_()
    with pytest.raises(ValueError, match="an .html file"):
        case.save(tmp_path / "case.pdf")


def test_page_holds_all_kinds_of_parts(tmp_path):
    case = by_hand()
    page = Page("A <title>", "of & all").box("no", "Don't", ["1 < 2"])
    page.section("Parts", "text & more", ["one", "two"], case.frame("sensitivity"), case)
    page.section(
        "Picture", (BusinessCaseDisplay(**BusinessCaseDisplay.parts_of(case)), {}), fold="more"
    )
    html = page.save(tmp_path / "page.html").read_text()
    assert "A &lt;title&gt;" in html and "1 &lt; 2" in html and "No go: Don&#x27;t" in html
    assert html.count("<svg") == 3 and "<details>" in html and "http" not in html
    with pytest.raises(TypeError, match="text, a list, a data frame"):
        page.section("Bad", 3.5)
    with pytest.raises(ValueError, match="kind='maybe'"):
        page.box("maybe", "?")


@pytest.mark.slow
def test_proof_of_concept_is_one_page(tmp_path, monkeypatch, capsys):
    """The example runs, and its page needs nothing from outside."""
    path = Path(__file__).parents[1] / "examples" / "50_proof_of_concept.py"
    names = runpy.run_path(str(path))
    names["main"].__globals__["OUTPUT"] = tmp_path
    names["main"](names["breast_cancer"]())
    html = (tmp_path / "proof_of_concept.html").read_text()
    assert html.count('class="box') == 1 and html.count("<svg") == 7
    assert "http" not in html and " src=" not in html and "SIMULATED" in html
    word = capsys.readouterr().out.splitlines()[-2].split(":")[0]
    assert word in ("GO", "NO", "OPEN") and f'class="box {word.lower()}"' in html


@pytest.mark.parametrize(
    ("candidates", "options", "message"),
    [
        ({"a": wrong_on(1, 2)}, {}, "at least two"),
        ([1, 2], {}, "at least two"),
        (CANDIDATES, dict(baseline="x"), "baseline='x'"),
        (CANDIDATES, dict(volume=0), "volume=0.0 is not valid"),
        (CANDIDATES, dict(attack_rate=(0.5, 0.1)), "ascending"),
        (CANDIDATES, dict(attack_rate=2), "attack_rate=2.0 is not valid"),
        (CANDIDATES, dict(training_price={"rob": 1}), "a dict of candidates"),
        (CANDIDATES, dict(confidence=1), "confidence=1.0 is not valid"),
        (CANDIDATES, dict(n_bootstrap=5), "n_bootstrap=5 is not valid"),
        (CANDIDATES, dict(certify="maybe"), "certify='maybe'"),
        ({"a": wrong_on(1, 2), "b": (ROW[:5], ROW[:5])}, {}, "the same rows"),
        ({"a": wrong_on(3, 2), "b": wrong_on(1, 1)}, {}, "no lower than without"),
        ({"a": wrong_on(1, 2), "b": (ROW,)}, {}, "clean, attacked"),
        ({"a": wrong_on(1, 2), "b": LogisticRegression()}, {}, "where a candidate is an estimator"),
    ],
)
def test_errors_say_what_to_do(candidates, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        business_case(candidates, **(OPTIONS | options))
