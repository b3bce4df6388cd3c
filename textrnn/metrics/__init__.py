"""Metrics, reports and pictures of predictions.

Training and the commands may import it. It does not depend on networks.
"""
