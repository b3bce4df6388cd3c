"""Recognizers to ONNX: the graph, and its comparison with the network.

Room: `textrnn.training.export`, see there.
"""
