"""Adaptation of a model to the text that it reads: dynamic evaluation and a cache.

Commands may import this package.
"""
