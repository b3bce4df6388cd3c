"""The data package: readers of texts, records and series; token ids and vectors on disk; batches in memory.

Any module that reads data may import it. It does not need TensorFlow. It needs `datasets` only for Hugging Face
datasets and parquet files.
"""
