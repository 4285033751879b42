"""Five prompts of a real model, each with a page that opens with supernodes, and what the model loses without each of them.

    python -m solutions.case_studies

It runs `python -m solutions.trace --ablate` for every case of `cases.CASES`, and writes `index.html`, which leads to the five pages.
"""
