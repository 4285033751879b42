"""Reference answers of the toy chapter: averages."""

from solutions_toy.averages import RunningMean, check_width, mean, smooth

__all__ = ["RunningMean", "check_width", "mean", "smooth"]
