"""The bank of reference queries, and the k highest scores of every candidate against it.

``bank`` cuts references into reference shards, ``search/`` finds the top-k of candidates in one shard, ``partials``
keeps that as an artefact, and ``topk`` is the value that partials are merged by.
"""
