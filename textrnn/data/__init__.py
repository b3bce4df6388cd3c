"""Reads files, records and series, and makes ids or vectors of them on disk and batches in memory.

May be imported by all that reads data; needs no TensorFlow, and `datasets` for Hugging Face ids and parquet alone.
"""
