"""Gates before the commit: whether a new version may be published."""
