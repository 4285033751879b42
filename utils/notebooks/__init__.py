"""Notebooks are built from the text in `instructions/` and the code in `solutions/`: `python -m utils.notebooks`.

`page` (with `front_matter` and `directives`) reads a page, `sources` finds solutions and makes stubs, `completeness` says what a
page lacks, `make_cells` makes notebooks, `execution` runs them, `pictures` draws what they show, `outputs` and `numbers` hold what
they give against the page, `materials` says what that depends on, `address` knows the repository, `place` the course's folder,
`build` puts everything in its place. `install` is what the first cell of a notebook does.
"""
