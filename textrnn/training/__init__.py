"""Trains models and writes their bundles: all that needs the extra `train`.

May be imported by the commands, inside their functions, so that a finished model runs without TensorFlow.
"""
