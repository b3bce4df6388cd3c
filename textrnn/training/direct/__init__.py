"""The direct path of a text classifier, from n-grams to classes: `ngrams`, `model` and, to fit one, `fitting`.

May be imported by the exporters and the tasks.
"""
