"""Pairs of texts, a source and its target: read from tables, kept as token ids, put into batches.

Room: `textrnn.data`, see there.
"""
