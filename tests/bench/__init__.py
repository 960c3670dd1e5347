"""The arithmetic and the order of the benchmarks; no speed is judged here."""
