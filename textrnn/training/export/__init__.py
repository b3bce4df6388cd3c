"""Writes the ONNX graphs of a trained model, compares them with it, and makes its bundle.

May be imported by tasks.
"""
