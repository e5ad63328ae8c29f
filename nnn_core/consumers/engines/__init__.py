"""Vector engines: one recipe each, of how it stores and searches vectors that carry a bias.

``registry`` has one entry for each engine; ``recipe`` says what is stored and asked and how scores are read back,
``overlap`` measures how much of the exact ranking of candidates an export keeps, and ``page`` writes the documentation.
"""
