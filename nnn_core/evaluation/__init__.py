"""What a bias does to retrieval: exact ranks on held-out queries, intervals, and the choice of k and alpha."""
