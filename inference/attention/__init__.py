"""Attention over the paged cache: ``reference.py`` says what is computed, ``interface.py`` how transformers asks."""
