"""The PTransforms, one a module, each wiring functions of nnn_core.

A stage takes and gives descriptors (URIs, digests, counts), never blocks of vectors. Stages do not import each other,
except for what ``embed_files``, ``once`` and ``metrics`` share.
"""
