"""The report of a run: what it says (``Report``), as a page (``render``) and for a terminal.

``render_text`` has all that fits there, ``render_verdict`` only what came of the rankings.
"""

from nnn_core.report._content import Report
from nnn_core.report._page import render
from nnn_core.report._text import render_text, render_verdict

__all__ = ["Report", "render", "render_text", "render_verdict"]
