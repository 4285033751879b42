"""Other right answers to the toy chapter, which must pass as well."""

from utils.grading import Alternate

ALTERNATES = {
    "mean": [
        Alternate(
            "loop",
            source="""
def mean(values):
    total = 0.0
    for value in values:
        total += value
    return total / max(len(values), 1)
""",
        ),
    ],
    "RunningMean": [
        Alternate(
            "total",
            [
                (
                    "self.count += 1\n        self.value += (value - self.value) / self.count",
                    "total = self.count * self.value + value\n        self.count += 1\n        self.value = total / self.count",
                )
            ],
        ),
    ],
    "smooth": [
        Alternate(
            "one_line",
            source="""
def smooth(values, width):
    check_width(width)
    return [mean(values[max(0, i - width + 1) : i + 1]) for i in range(len(values))]
""",
        ),
    ],
}
