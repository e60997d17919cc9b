"""Measurements, each a ratio within one run where it can be: these are benchmarks, not tests. `./kitchen bench`."""

import inference  # noqa: F401  (before torch: it tells OpenMP how to wait)
