"""What a refresh would compute and cost, before it runs.

``plan`` counts the artefacts that are missing, ``costs`` prices the work by a file of rates, ``regrouping`` compares
sizes of reference shards, ``scaling`` writes the figures of deploy/SCALING.md.
"""
