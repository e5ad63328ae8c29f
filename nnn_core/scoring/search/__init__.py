"""Searches: ways to find the k highest scores of candidates over one reference shard.

``exact``, ``prefilter`` and ``device`` select in different arithmetic and then score what they
selected exactly; a certificate makes their results the same to the bit. ``approximate`` looks at a
part of the references only.
"""

#: What ``--search`` may be.
SEARCHES = ("auto", "exact", "prefilter", "approximate")
