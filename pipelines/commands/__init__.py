"""The command line: one module a command, and what their flags share.

``cli`` finds the command, such as ``_refresh``; each ``main(argv)`` parses, calls a pipeline or nnn_core, and prints.
Nothing imports this room.
"""
