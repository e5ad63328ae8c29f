"""The embedded demo: rendered scenes, their captions, and the small encoder trained on such scenes."""
