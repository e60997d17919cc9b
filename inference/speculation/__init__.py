"""Speculative decoding: drafters that guess several tokens ahead, to be checked by the target in one pass."""
