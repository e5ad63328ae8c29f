"""What happens to versions of a table after they are committed.

``check`` verifies a version, ``difference`` compares two, ``explanation`` tells where one bias comes from,
``rollback``, ``expiry`` and ``cleaning`` bring back and remove, ``registration`` tells a catalogue.
"""
