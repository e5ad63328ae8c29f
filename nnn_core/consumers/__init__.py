"""What reads the table: vectors augmented by a bias, exports, and re-ranking.

``augment`` changes vectors, ``export`` writes files for engines (``engines/``), ``rerank`` corrects the results of an
engine that keeps plain vectors. All of them read a committed version and write beside it, never into it.
"""
