"""Speculative decoding: ``rejection.py`` says which drafts are kept and what is drawn instead."""
