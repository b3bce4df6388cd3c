"""Training of one model on several devices or in several processes.

The loop and the packages above it may import this package.
"""
