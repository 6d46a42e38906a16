"""Fuzzers: ``python -m fuzz`` runs each module here that has a function ``run(seconds: float, seed: int) -> int``.

`run` feeds mutated inputs to a part of the hub for so many seconds and returns how many there were. At the first one
that the part does not deal with as it should, it raises, with what reproduces it. The same seed gives the same inputs.
"""
