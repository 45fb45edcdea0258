import pytest

from bench.figures import Cost, Rate, added, median, percentile, rounded


@pytest.mark.parametrize(
    ("share", "value"), [(0, 1.0), (0.5, 2.5), (0.25, 1.75), (1, 4.0)], ids=["least", "middle", "quarter", "most"]
)
def test_a_percentile_lies_between_the_values_around_it(share: float, value: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], share) == pytest.approx(value)


def test_the_median_of_one_value_is_that_value() -> None:
    assert median([7.0]) == 7.0


def test_no_values_have_no_percentile() -> None:
    with pytest.raises(ValueError, match="no values"):
        percentile([], 0.5)


def test_a_share_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        percentile([1.0], 50)


def test_what_slows_both_of_a_pair_is_not_added() -> None:
    baseline = [1.0, 1.0, 100.0, 1.0, 1.0]
    through = [3.0, 3.0, 102.0, 3.0, 3.0]
    assert added(through, baseline) == pytest.approx(2.0)


def test_unpaired_values_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        added([1.0, 2.0], [1.0])


def test_the_cost_of_rounds_is_their_cpu_time_over_their_count() -> None:
    assert (Cost(0.001, 50) + Cost(0.002, 100)).microseconds == pytest.approx(20.0)


def test_nothing_counted_is_no_cost_of_zero() -> None:
    with pytest.raises(ValueError, match="nothing was counted"):
        _ = Cost(1.0, 0).microseconds


def test_the_rate_of_rounds_is_weighted_by_their_time() -> None:
    assert (Rate(1.0, 100) + Rate(3.0, 100)).per_second == pytest.approx(50.0)


def test_no_time_is_no_rate() -> None:
    with pytest.raises(ValueError, match="no time"):
        _ = Rate().per_second


@pytest.mark.parametrize(("value", "short"), [(0.123456, 0.1235), (12345.6, 12350.0), (0.0, 0.0), (-2.71828, -2.718)])
def test_a_figure_keeps_four_digits(value: float, short: float) -> None:
    assert rounded(value) == short
