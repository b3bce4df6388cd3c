"""What the commands and the Python calls share: train a run, evaluate a model, export a run.

The command line, `textrnn.train` and the methods of a model may import it. It imports training when it needs it.
"""
