"""The probabilities of being best, against closed forms and numbers worked out elsewhere."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from salver.bandits.quadrature import Beta, StudentT, Unknown, quantiles, shares_of_best


def beaten(a1: int, b1: int, a2: float, b2: float) -> float:
    """P(Beta(a1, b1) > Beta(a2, b2)) for whole a1: a finite sum over i < a1."""
    logbeta = lambda a, b: math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)  # noqa: E731
    return sum(
        math.exp(logbeta(a2 + i, b1 + b2) - math.log(b1 + i) - logbeta(1 + i, b1) - logbeta(a2, b2))
        for i in range(a1)
    )


PAIRS = [
    *((1, 1, 1, 1), (2, 1, 1, 1), (3, 9, 4, 8), (1, 50, 2, 49), (40, 1, 60, 2)),
    *((500, 500, 510, 490), (1, 1, 300, 700), (1000, 9000, 1, 1), (20, 80, 900, 3100)),
]


@pytest.mark.parametrize("pair", PAIRS, ids=str)
def test_two_betas_are_as_the_closed_form_says(pair: tuple[int, int, int, int]) -> None:
    a1, b1, a2, b2 = pair
    second_wins = 1.0 - beaten(a2, b2, a1, b1)
    shares = shares_of_best([Beta(a1, b1), Beta(a2, b2)])
    assert shares[0] == pytest.approx(second_wins, abs=3e-4)
    assert sum(shares) == pytest.approx(1.0, abs=1e-12)


def test_several_betas_are_as_a_million_draws_say() -> None:
    parameters = [(3.0, 7.0), (12.0, 20.0), (1.0, 1.0), (200.0, 400.0), (1.5, 9.25)]
    rng = np.random.default_rng(5)
    draws = np.array([rng.beta(a, b, 1_000_000) for a, b in parameters])
    found = shares_of_best([Beta(a, b) for a, b in parameters])
    drawn = np.bincount(draws.argmax(0), minlength=5) / 1_000_000
    assert np.allclose(found, drawn, atol=3e-3)


@pytest.mark.parametrize("freedom", [2.0, 3.5, 12.0, 300.0])
def test_students_t_are_as_an_adaptive_integral_says(freedom: float) -> None:
    parameters = [(freedom, 0.0, 1.0), (freedom + 1, 0.4, 0.1), (2 * freedom, -0.5, 3.0)]
    found = shares_of_best([StudentT(*each) for each in parameters])
    known = [stats.t(df, mean, scale) for df, mean, scale in parameters]
    for index, own in enumerate(known):
        others = [each for each in known if each is not own]
        value, _ = integrate.quad(
            lambda u, own=own, others=others: math.prod(
                [float(each.cdf(own.ppf(u))) for each in others]
            ),
            0.0,
            1.0,
            limit=200,
            epsabs=1e-6,
        )
        assert found[index] == pytest.approx(value, abs=2e-3)


@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-6])
def test_a_narrow_one_beside_a_wide_one_is_resolved(gap: float) -> None:
    # The narrow one is a step for the wide one: it wins where the wide one is below it.
    shares = shares_of_best([StudentT(1000.0, 1.0, gap * 1e-3), StudentT(1000.0, 0.0, gap)])
    below = float(stats.t(1000.0, 0.0, gap).cdf(1.0))
    assert shares[0] == pytest.approx(below, abs=2e-3)


def test_what_cannot_be_the_largest_gets_nothing() -> None:
    assert shares_of_best([Beta(9000.0, 1000.0), Beta(1000.0, 9000.0)]) == (1.0, 0.0)


def test_equal_ones_share_equally() -> None:
    assert shares_of_best([Beta(4.0, 3.0)] * 4) == pytest.approx((0.25,) * 4, abs=1e-9)


CASES: list[tuple[Unknown, stats.distributions.rv_frozen]] = [
    (Beta(3.0, 9.0), stats.beta(3, 9)),
    (Beta(1.0, 1.0), stats.beta(1, 1)),
    (Beta(1.0, 200.0), stats.beta(1, 200)),
    (StudentT(5.0, 2.0, 3.0), stats.t(5, 2, 3)),
]


@pytest.mark.parametrize(("unknown", "known"), CASES, ids=["beta", "flat", "steep", "t"])
def test_quantiles_are_those_of_scipy(
    unknown: Unknown, known: stats.distributions.rv_frozen
) -> None:
    low, high = quantiles(unknown, (0.025, 0.975))
    width = float(known.std())
    assert low == pytest.approx(float(known.ppf(0.025)), abs=0.01 * width)
    assert high == pytest.approx(float(known.ppf(0.975)), abs=0.01 * width)
