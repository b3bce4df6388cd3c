"""Recognition: recordings and their transcripts. `task`: the data, without TensorFlow; `trainer`: the training.

The table of tasks may import this package.
"""
