"""The networks and their equations: loops, layers, the stack and output layers. README.md explains them step by step.

All of training may import this package.
"""
