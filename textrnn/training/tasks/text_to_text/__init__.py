"""Text to text: pairs of texts. `task`: the data, without TensorFlow; `trainer`: the training.

The table of tasks may import this package.
"""
