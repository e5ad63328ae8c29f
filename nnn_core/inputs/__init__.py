"""From a pattern to rows: listing, input shards, readers, rejects, and what a person sees of them.

``listing`` expands globs to input shards, ``readers`` turns a shard into rows, ``rejects`` records rows that cannot be
used, ``keys`` looks at ids, ``inspection`` describes what a glob holds.
"""
