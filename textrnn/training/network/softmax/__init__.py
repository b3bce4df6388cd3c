"""The output of a language model: cross-entropy over all tokens, or an adaptive softmax.

Room: `textrnn.training.network`, see there.
"""
