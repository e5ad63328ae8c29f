"""Whether a version may go out.

``comparison`` measures a version against the previous one, ``checks`` and ``judge`` turn measures into gates,
``thresholds`` holds the limits of ``--gates``.
"""
