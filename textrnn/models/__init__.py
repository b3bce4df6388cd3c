"""Finished models, a folder each, and the places where a model can be: a path, a name, or the hub.

`places` finds a model, `hub` downloads and uploads one, `card` describes one for people. May be imported by `runtime`,
the tasks and the commands.
"""
