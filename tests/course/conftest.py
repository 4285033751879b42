"""The toy course is material for the tests of the machinery; its own tests are not part of the main run."""

collect_ignore = ["toy"]
