"""Runtime of a finished model: needs only numpy and onnxruntime. `load` returns the model.

Everything may import it except its own dependencies: data, tokenizers, generation and their dependencies.
"""
