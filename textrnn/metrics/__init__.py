"""Turns predictions into figures, reports and pictures.

May be imported by training and by the commands; knows nothing of networks.
"""
