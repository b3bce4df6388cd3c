"""Decoding: the search for the best texts, of a model from text to text and of a recognizer of speech.

The models are functions of one step, or arrays of their outputs. It may be imported by training and runtime.
"""
