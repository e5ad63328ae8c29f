"""How other programs hear of a run: metrics for Prometheus, and events for OpenLineage."""
