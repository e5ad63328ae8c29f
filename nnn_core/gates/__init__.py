"""Whether a version may go out.

``catalogue`` is the table of all gates: name, limit, direction, measure, sentence, remedy. ``facts`` is what they judge
by, with ``row_statistics`` of the rows against those of the previous version; ``thresholds`` holds the limits of
``--gates``, and ``judge`` applies them.
"""
