"""The embedded corpus: rendered scenes, their captions, and the small encoder trained on them.

``scenes`` draws and describes, ``corpus`` writes shards, bank and queries, ``train`` made the encoder in ``encoder/``.
"""
