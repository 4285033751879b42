"""Wrong answers to the toy chapter, each with the sentence that a student reads."""

from utils.grading import Mistake

MISTAKES = {
    "mean": [
        Mistake(
            "divides_by_zero",
            "An empty list has a length of 0: your division fails there, and the answer should be 0.",
            [("    if not values:\n        return 0.0\n", "")],
        ),
        Mistake(
            "one_less",
            "You divide by one less than the number of values.",
            [("len(values)", "max(len(values) - 1, 1)")],
        ),
        Mistake(
            "only_sums",
            "You add the values but do not divide by how many there are.",
            [(" / len(values)", "")],
        ),
        Mistake(
            "whole_numbers",
            "You divide with `//`, which drops what is behind the point.",
            [(" / len(values)", " // len(values)")],
        ),
        Mistake(
            "median",
            "That is the median, the value in the middle, not the mean.",
            source="def mean(values):\n    return sorted(values)[len(values) // 2] if values else 0.0\n",
        ),
        Mistake(
            "empties_the_list",
            "Your function takes the values out of the list that it was given.",
            [
                (
                    "return sum(values) / len(values)",
                    "n = len(values)\n    return sum(values.pop() for _ in range(n)) / n",
                )
            ],
        ),
    ],
    "RunningMean": [
        Mistake(
            "keeps_the_last",
            "The value becomes the latest one: what came before it is forgotten.",
            [("self.value += (value - self.value) / self.count", "self.value = value")],
        ),
        Mistake(
            "sums",
            "You add the values up but do not divide by how many there are.",
            [("(value - self.value) / self.count", "value")],
        ),
        Mistake(
            "counts_too_late",
            "You divide by the number of values before the new one is counted.",
            [
                ("        self.count += 1\n", ""),
                (
                    "self.value += (value - self.value) / self.count",
                    "self.value += (value - self.value) / max(self.count, 1)\n        self.count += 1",
                ),
            ],
        ),
        Mistake(
            "mean_of_means",
            "You take the mean of the two means, but the longer one should count more.",
            [("(self.count * self.value + other.count * other.value) / total", "(self.value + other.value) / 2")],
        ),
        Mistake(
            "forgets_the_count",
            "After merging, the number of values is still the old one.",
            [("        self.count = total\n", "")],
        ),
        Mistake(
            "empties_the_other",
            "Merging resets the running mean that is merged in.",
            [("self.count = total\n", "self.count = total\n        other.__init__()\n")],
        ),
    ],
    "smooth": [
        Mistake(
            "whole_windows_only",
            "The list became shorter: where it begins, a window holds fewer values, but it still gives one.",
            [("range(1, len(values) + 1)", "range(min(width, len(values)), len(values) + 1)")],
        ),
        Mistake(
            "looks_ahead",
            "Your window holds the values that come after, not those before.",
            [("values[start:end]", "values[end - 1 : end - 1 + width]")],
        ),
        Mistake(
            "one_too_wide",
            "Your window holds one value too many.",
            [("end - width)", "end - width - 1)")],
        ),
        Mistake(
            "always_divides_by_width",
            "Where the list begins there are fewer values than the width, but you divide by the width.",
            [("mean(values[start:end])", "sum(values[start:end]) / width")],
        ),
        Mistake(
            "leaves_itself_out",
            "Your window ends before the value itself.",
            [("values[start:end]", "values[max(0, start - 1) : end - 1]")],
        ),
    ],
}
