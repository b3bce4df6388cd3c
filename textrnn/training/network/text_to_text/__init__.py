"""The network from a text to another: encoder, attention, decoder.

Room: `textrnn.training.network`, see there.
"""
