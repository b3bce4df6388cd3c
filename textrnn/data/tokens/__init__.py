"""Turns text into token ids on disk, by several processes, and opens them without reading them into memory.

May be imported by all of training and by metrics.
"""
