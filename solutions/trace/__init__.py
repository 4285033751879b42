"""Trace a prompt: ``python -m solutions.trace "The capital of the state containing Dallas is"``.

Prints what the model says and the strongest paths by which it got there, and writes three things into a folder:
``index.html`` (a page that opens in any browser, offline), ``graph.json`` (the graph in the form other tools read) and
``result/`` (everything, for ``AttributionResult.load``).
"""
