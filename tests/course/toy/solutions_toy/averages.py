"""Means: of a list, of a stream, of a sliding window."""


def mean(values: list[float]) -> float:
    """The mean of the values; the mean of no values is 0."""
    ### BEGIN SOLUTION
    if not values:
        return 0.0
    return sum(values) / len(values)
    ### END SOLUTION


class RunningMean:
    """The mean of all values added so far; the values themselves are not stored."""

    def __init__(self) -> None:
        self.count = 0
        self.value = 0.0

    def add(self, value: float) -> None:
        """Take in one more value."""
        ### BEGIN SOLUTION
        self.count += 1
        self.value += (value - self.value) / self.count
        ### END SOLUTION

    def merge(self, other: "RunningMean") -> None:
        """Take in all that `other` has seen; `other` stays as it is."""
        total = self.count + other.count
        if total == 0:
            return
        ### BEGIN SOLUTION
        self.value = (self.count * self.value + other.count * other.value) / total
        self.count = total
        ### END SOLUTION


def check_width(width: int) -> None:
    """Refuse a window that holds nothing. Raises ValueError."""
    if width < 1:
        raise ValueError(f"A window holds at least one value, but its width is {width}.")


def smooth(values: list[float], width: int) -> list[float]:
    """For each value the mean of it and those before it, `width` in all, or fewer where the list begins.

    Raises ValueError if width is less than 1.
    """
    check_width(width)
    ### BEGIN SOLUTION
    means = []
    for end in range(1, len(values) + 1):
        start = max(0, end - width)
        means.append(mean(values[start:end]))
    return means
    ### END SOLUTION
