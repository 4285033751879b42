"""The pictures of the course, a module for each chapter: every function takes numbers and returns a plotly figure.

Chapter 1: `gradients`. Chapter 2: `transcoders`. Chapter 3: `graphs`. Chapter 4: `interventions`. Chapter 5: `cross_layer`. Chapter 6:
`neurons`, `exchange`. Chapter 7: `attention`.
What a graph costs is drawn by `cost`. What they share, the palette first of all, is in `style`.
"""
