"""What a bias does to rankings: recall, hubness, the choice of k and alpha, and rival corrections.

``means`` and ``queries`` are what is judged, ``ranks`` and ``rankings`` count it candidate shard by candidate shard,
``summary`` sums up. Nothing here decides whether a version may go out: see ``gates``.
"""
