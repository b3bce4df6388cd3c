"""Runs a finished model with numpy and onnxruntime alone: `load` gives it.

May be imported by all but the parts below it: data, tokenizers, generation and what those rest on.
"""
