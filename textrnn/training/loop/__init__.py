"""The training loop: steps, checkpoints, history, the folder of a run.

May be imported by adaptation and tasks.
"""
