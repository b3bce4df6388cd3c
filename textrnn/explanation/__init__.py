"""Explanation of a classifier's decision: the contribution of each token, as JSON, in a terminal and as a picture."""

from textrnn.explanation.occlusion import Explanation, Predict, explain
from textrnn.explanation.picture import draw
from textrnn.explanation.terminal import to_terminal

__all__ = ["Explanation", "Predict", "draw", "explain", "to_terminal"]
