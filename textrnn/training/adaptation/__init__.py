"""Models that go on learning as they read: dynamic evaluation and a cache.

May be imported by the commands.
"""
