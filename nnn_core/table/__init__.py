"""The bias table: parts, manifests, and the versions that they make.

``parts`` writes and checks table parts, ``manifest`` commits a version, ``reading`` loads one, ``lookup`` finds single
ids in it, and ``lifecycle/`` lists, compares, rolls back and expires versions.
"""
