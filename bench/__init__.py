"""Benchmarks: what asyncwb costs and carries, against the trackers that it is compared with.

A case is a function of (rival, size, seed) that returns plain figures. The harness runs each
measurement in a fresh process, takes the rivals in turn (A B A B) so that a slow minute of the
machine hits all of them, and writes every figure, with the machine, the versions and the settings,
to `results/*.json`. The report is computed from such a file and from nothing else: the median over
the rounds, the ratio of asyncwb to each rival round by round with its spread, and whether the
target is met.

    python -m bench setup               the rivals, each into its own environment
    python -m bench list                cases, sizes and rivals
    python -m bench run --quick         every case, small: does it run?
    python -m bench run                 the figures that README quotes
    python -m bench report              the table of the latest full run

`cases/` and `rivals/` run inside the rivals' environments too, so they import only the standard
library, numpy, and the one rival that they are about.
"""
