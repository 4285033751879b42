"""What grades the toy chapter."""

from utils.grading import expect_close, expect_equal


def test_mean_of_three_numbers(mean):
    """The mean of three numbers is right."""
    expect_close(mean([1.0, 2.0, 7.0]), 10.0 / 3.0, "the mean of 1, 2 and 7")


def test_mean_of_nothing(mean):
    """The mean of no numbers is 0."""
    expect_close(mean([]), 0.0, "the mean of an empty list")


def test_mean_leaves_its_list_alone(mean):
    """The list is the same afterwards."""
    values = [3.0, 1.0, 2.0]
    mean(values)
    expect_equal(values, [3.0, 1.0, 2.0], "the list after its mean was taken")


def running(RunningMean, *values):
    """A running mean that has taken in the values."""
    result = RunningMean()
    for value in values:
        result.add(value)
    return result


def test_running_mean_of_a_stream(RunningMean):
    """After each value the mean is right."""
    stream = RunningMean()
    for value, expected in [(4.0, 4.0), (8.0, 6.0), (0.0, 4.0)]:
        stream.add(value)
        expect_close(stream.value, expected, f"the mean after {value} was added")


def test_running_means_merge(RunningMean):
    """Two running means of different lengths merge into the mean of all values."""
    first, second = running(RunningMean, 4.0), running(RunningMean, 8.0, 6.0, 2.0)
    first.merge(second)
    expect_close(first.value, 5.0, "the mean of 4 merged with 8, 6 and 2")
    expect_equal(first.count, 4, "the number of values after merging")


def test_merging_leaves_the_other_alone(RunningMean):
    """The running mean that was merged in stays as it was."""
    first, second = running(RunningMean, 4.0), running(RunningMean, 8.0, 6.0)
    first.merge(second)
    expect_equal((second.count, second.value), (2, 7.0), "the other's number of values and mean")


def test_smooth_with_a_window_of_two(smooth):
    """A window of two holds a value and the one before it."""
    expect_equal(smooth([4.0, 8.0, 6.0, 2.0], 2), [4.0, 6.0, 7.0, 4.0], "4, 8, 6, 2 smoothed with width 2")


def test_smooth_with_a_window_of_one(smooth):
    """A window of one changes nothing."""
    expect_equal(smooth([4.0, 8.0, 6.0], 1), [4.0, 8.0, 6.0], "4, 8, 6 smoothed with width 1")


def test_smooth_with_a_wide_window(smooth, mean):
    """A window wider than the list holds all that came so far."""
    values = [4.0, 8.0, 0.0]
    expect_close(smooth(values, 10)[-1], mean(values), "the last value of 4, 8, 0 smoothed with width 10")
