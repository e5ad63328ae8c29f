"""The report of a run: what it says (``Report``), as a page (``render``) and for a terminal.

``HubChanges``, ``Shown``, ``Fairness`` and ``Stage`` are sections of it that other rooms fill. ``render_text`` has all
that fits there, ``render_verdict`` only what came of the rankings.
"""

from nnn_core.report._content import Report
from nnn_core.report._page import render
from nnn_core.report._sections import Fairness, HubChanges, Shown, Stage
from nnn_core.report._text import render_text, render_verdict

__all__ = ["Fairness", "HubChanges", "Report", "Shown", "Stage", "render", "render_text", "render_verdict"]
