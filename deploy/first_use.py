"""Import and compile what a first command would, with the kinds of arrays that jobs have.

Run by ``install.py``. What is compiled stays beside the modules; without it, the first refresh takes some 20 s longer.
"""

from importlib import import_module

import numpy as np
import pyarrow as pa

from nnn_core.consumers.rerank import Reranker
from nnn_core.embedded.shards import VectorBlock
from nnn_core.evaluation._counting import Goals, count_ahead
from nnn_core.evaluation.points import Point
from nnn_core.evaluation.rankings import Ranking
from nnn_core.evaluation.ranks import Targets
from nnn_core.scoring.bank import ReferenceIndex
from nnn_core.scoring.score import score_block
from nnn_core.scoring.search.searches import exact_search
from nnn_core.vectors import unit_vectors

#: Packages that may not be installed here are left to those who need them.
for name in ("nnn_core.encoders._open_clip", "open_clip", "apache_beam.ml.inference.base", "pipelines.commands._demo"):
    try:
        import_module(name)
    except ImportError:
        continue

ROWS = 4096
names = [str(row) for row in range(ROWS)]
vectors = unit_vectors(np.random.default_rng(0).standard_normal((ROWS, 64)))[0]
bank = ReferenceIndex.of(np.concatenate([vectors[:2048], vectors[:1]]))
vectors.flags.writeable = False
block = VectorBlock(pa.array(names), pa.array(names), vectors)
for k in (16, 128):
    score_block(block, exact_search(bank), k)
asked, means = [[name] for name in names[:8]], np.ones((64, 2), np.float32)
where = (vectors[:64], names[:64], means)
goals = Goals.of(Targets.find(vectors[:8], asked, *where), asked)
count_ahead(vectors[:8].copy(), goals, *where, (1, 2), [Point(1, 0.0), Point(2, 0.5)])
Ranking.of(vectors[:8].copy(), *where[:2], np.zeros(64, np.float32))
Reranker.of(pa.chunked_array([names]), np.zeros(ROWS, np.float32)).index.find(names[:2])
