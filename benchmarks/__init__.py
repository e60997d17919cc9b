"""Measurements, each a ratio within one run where it can be: these are benchmarks, not tests. `./kitchen bench`."""
