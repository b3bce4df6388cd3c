"""Why a classifier decided as it did: what each token of a text adds, as JSON, in a terminal and as a picture."""

from textrnn.explanation.occlusion import Explanation, Predict, explain
from textrnn.explanation.picture import draw
from textrnn.explanation.terminal import to_terminal

__all__ = ["Explanation", "Predict", "draw", "explain", "to_terminal"]
