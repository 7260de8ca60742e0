"""The model card: every figure of the report, the threat in units, and what was not tested."""

from __future__ import annotations

import datetime
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import make_classification
from sklearn.linear_model import LogisticRegression, Ridge

from skrobust import LpBall, robustness_report
from skrobust.inspection._model_card import SECTIONS, hash_of_rows
from skrobust.inspection._words import number, percent

DATA, y = make_classification(120, 4, n_informative=3, n_redundant=0, random_state=0)
X = pd.DataFrame(DATA * [1, 10, 100, 1], columns=["a", "b|c", "age", "d"])
KIND = np.where(np.arange(120) % 8 == 0, "few", "many")
MODELS = {
    "plain": LogisticRegression(max_iter=5000).fit(X, y),
    "ro*bust": LogisticRegression(C=1e-3, max_iter=5000).fit(X, y),
}
THREAT = LpBall("l2", scale="std", frozen=["d"], direction={"age": "up"}, bounds="data").bind(X)


@pytest.fixture(scope="module")
def report():
    return robustness_report(
        MODELS, X, y, radii=[0.1, 0.25], threat=THREAT, groups=KIND, certify=True, random_state=0,
        max_rows=40,
    )  # fmt: skip


@pytest.fixture(scope="module")
def card(report):
    return report.model_card("ro*bust", date=datetime.date(2026, 1, 31))


def rows_of(card: str, title: str) -> list[list[str]]:
    """The table below a bold title."""
    below = card.split(f"**{title}**", 1)[1].split("\n\n")[1]
    lines = [line.strip("| ").split(" | ") for line in below.splitlines()]
    return [lines[0], *lines[2:]]


def test_every_figure_of_the_frame_is_there(report, card):
    frame = report.frame()
    frame = frame[frame.estimator == "ro*bust"]
    assert len(frame) == 2 * (1 + 2 + 2)
    for record in frame.itertuples():
        title = "All rows" if record.part == "all" else f"{record.part.capitalize()} {record.value}"
        head, *lines = rows_of(card, title)
        clean, attacked = lines[0], lines[1 + [0.1, 0.25].index(record.radius)]
        assert clean[1] == percent(record.clean)
        assert clean[2] == f"{percent(record.clean_low)} to {percent(record.clean_high)}"
        assert attacked[0] == f"{record.radius:g}" and attacked[1] == percent(record.attacked)
        assert attacked[2] == f"{percent(record.low)} to {percent(record.high)}"
        for column, word in (
            ("random", "moved at random"),
            ("certified", "certified"),
            ("at_most", "of all such rows at most wrong or breakable"),
        ):
            assert attacked[head.index(word)] == percent(getattr(record, column))
        if record.majority is not None and not np.isnan(record.majority):
            assert f"Always answering the most frequent class: {percent(record.majority)}." in card
        assert f"({record.n_rows} rows)" in card


def test_every_test_of_groups_is_there(report, card):
    for record in report.frame("changes").query("estimator == 'ro*bust'").itertuples():
        cells = [record.measure, record.group, record.n_rows, percent(record.before),
                 percent(record.value), f"{percent(record.low)} to {percent(record.high)}",
                 f"{record.p_holm:.2g}", record.verdict]  # fmt: skip
        assert "| " + " | ".join(map(str, cells)) + " |" in card


def test_sections_and_their_order(card):
    assert tuple(re.findall(r"^## (.*)$", card, re.M)) == SECTIONS
    assert card.startswith("# Model card: ro\\*bust\n")
    assert "Date of this card: 2026-01-31" in card
    for word in ("scikit-learn", "torch", "numpy", "python", "skrobust", "Not stated", "SHA-256"):
        assert word in card


def test_threat_in_words_and_units(card):
    assert "euclidean length" in card and "Frozen, so never moved: d." in card
    assert "age (up)" in card
    step = X["age"].std(ddof=0)
    line = next(line for line in card.splitlines() if line.startswith("| age |"))
    assert f"| {number(step)} | {number(0.1 * step)} | {number(0.25 * step)} |" in line


def test_what_was_not_tested(card):
    told = card.split("**What was not tested:**")[1]
    for word in (
        "largest movement (linf)", "sum (l1)", "larger than radius 0.25", "distribution shift",
        "poisoning", "adapt", "frozen columns: d", "one-way", "outside the bounds", "few (15)",
        "Combinations", "calibrated",
    ):  # fmt: skip
        assert word in told, word
    assert "euclidean length" not in told


def test_own_words_and_files(report, tmp_path):
    path = tmp_path / "card.md"
    text = report.model_card(
        "plain", path=path, intended_use="For nurses.", caveats_and_recommendations="Ask."
    )
    assert path.read_text(encoding="utf-8") == text
    assert "## Intended Use\n\nFor nurses.\n" in text
    assert text.index("Ask.") < text.index("What was not tested")
    assert datetime.datetime.now(datetime.UTC).date().isoformat() in text


def test_hash_is_of_the_rows(report):
    settings = report.settings
    found = hash_of_rows(settings)
    assert len(found) == 64 and found == hash_of_rows(settings)
    from dataclasses import replace

    moved = X.copy()
    moved.iloc[3, 1] += 1e-9
    assert hash_of_rows(replace(settings, X=moved)) != found
    assert hash_of_rows(replace(settings, y=1 - settings.y)) != found
    assert hash_of_rows(replace(settings, X=X.iloc[::-1])) != found
    assert hash_of_rows(replace(settings, X=X.to_numpy())) == found


def test_regressors_and_reports_without_groups():
    target = DATA @ [1.0, 2, 3, 0]
    model = Ridge().fit(DATA, target)
    found = robustness_report(
        model, DATA, target, radii=[0.1], diagnostics=False, certify=True, random_state=0
    )
    card = found.model_card(date="spring")
    record = found.frame().iloc[0]
    (_, clean, attacked) = rows_of(card, "All rows")
    assert clean[1] == number(record.clean) and attacked[1] == number(record.attacked)
    assert number(record.variation) in attacked and number(record.variation_at_most) in attacked
    assert number(record.at_most) in attacked and number(record.certified) in attacked
    assert "No groups were given" in card and "none were given" in card and "spring" in card
    assert "was not checked" in card


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({}, "name of one of the models"),
        ({"model": "other"}, "name of one of the models"),
        ({"model": "plain", "path": "card.html"}, ".md file"),
        ({"model": "plain", "date": 7}, "a date"),
        ({"model": "plain", "purpose": "x"}, "one of the sections"),
        ({"model": "plain", "intended_use": 3}, "one of the sections"),
    ],
)
def test_bad_input(report, options, word):
    with pytest.raises(ValueError, match=re.escape(word)):
        report.model_card(**options)
