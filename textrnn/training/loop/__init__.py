"""The training loop: steps, checkpoints, history and the run folder.

Adaptation and tasks may import this package.
"""
