"""Multi-label classification of texts. `task`: the data, without TensorFlow; `trainer`: the training.

May be imported by the table of tasks.
"""
