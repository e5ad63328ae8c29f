"""Vector engines: one recipe each, of how it stores and searches vectors that carry a bias.

``registry`` has one entry for each engine; ``files`` writes what it loads, ``recipe`` the commands to load and query
it, and ``overlap`` measures how much of the exact ranking of candidates it keeps.
"""
