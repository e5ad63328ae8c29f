"""The bank of reference queries, and the k highest scores of every candidate against it.

``bank`` cuts references into reference shards, ``search/`` finds the top-k of candidates in one shard, ``partials``
keeps some of that as an artefact, ``merged`` makes of all partials the means over the whole bank, with a second look
where a partial lacks something (``looks``), ``scorer`` names both, and ``topk`` is what scores are merged by.
"""
