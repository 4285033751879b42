"""For who teaches: hand out notebooks (`release`), grade a folder of them (`grade`), and pack an autograder (`gradescope`).

How a cohort is graded: `submissions` finds the notebooks. A `worker` is a process that has loaded the tests of a chapter; for each
exercise it forks a child, in which `sandbox` and `tripwires` leave student code little to do but to compute. What comes back
are `values`: plain data. `judge` runs the same tests on the reference answers, in a process without student code, and holds the
values against what it expects: that is the verdict. `batch` keeps the results; `reports`, `table` and `page` write them.
"""
