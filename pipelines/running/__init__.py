"""How a pipeline runs and speaks: runners, progress, logs.

``runner`` builds, runs and waits, and brings errors of workers back whole; ``progress`` and ``logs`` write to standard
error.
"""
