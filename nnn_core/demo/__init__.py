"""The embedded corpus: rendered scenes, their captions, and the small encoder trained on them.

``_scenes`` draws and describes, ``corpus`` writes shards, bank and queries. ``tests/train_demo_encoder.py`` made the
encoder in ``encoder/``.
"""
