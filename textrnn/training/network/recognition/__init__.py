"""Recognition of speech: the network over the frames of a recording, and its loss.

Room: `textrnn.training.network`, see there.
"""
