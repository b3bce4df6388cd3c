"""Several devices and several processes that train one model.

May be imported by the loop and what stands above it.
"""
