"""The tokens package: text is tokenised to files by several processes; the token ids are memory-mapped.

The training modules and the metrics may import it.
"""
