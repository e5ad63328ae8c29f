"""Nearest Neighbor Normalization as a bias table: the part that knows nothing of Beam."""

from nnn_core.augment import augment, augment_queries
from nnn_core.table import BiasTable, load_bias_table, reweight

__all__ = ["BiasTable", "augment", "augment_queries", "load_bias_table", "reweight"]
__version__ = "0.1.0"
