"""The networks and their equations: loops, layers, the stack, output layers. README.md walks through them.

May be imported by all of training.
"""
