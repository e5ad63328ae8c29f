"""The unit vectors of an input, kept: embedded shards and what is known of them together.

``embedding`` makes an embedded shard of an input shard, for which ``known`` finds the vectors of single images again,
``shards`` reads it, ``corpus`` describes all candidates together, ``profile`` and ``side`` what a side of the job
(candidates, or the bank) was made from.
"""
