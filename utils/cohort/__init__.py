"""For teachers: hand out notebooks (`release`), grade a folder of them (`grade`), and pack an autograder (`gradescope`).

`commands` does what the command line asks for. How a cohort is graded: `collect` finds the notebooks. In `isolate`, a process loads
the tests of a chapter and forks a child for each exercise; the sandbox leaves student code in that child little to do but to compute.
The child sends back plain data. `judge` runs the same tests on the reference answers, in a process without student code, and compares
the two: that is the verdict. `batch` keeps the results, and `report` writes them.
"""
