"""The search for settings within a time budget: `textrnn train --budget`.

The commands may import this package. What may be tried for a task is said by the task.
"""
