"""The picture of the README: the demo's worst hubs, each with how many queries find it before and after.

nnn demo
python tests/render_hubs.py nnn-demo/work/reports/version-000001-*.json .github/hubs.png
"""

from __future__ import annotations

import io
import sys

from PIL import Image, ImageDraw, ImageFont

from nnn_core.report.archive import read_report

_SIDE, _GAP, _TEXT, _HUBS = 150, 12, 74, 6
_INK, _SOFT, _PAGE = "#1b2026", "#59636e", "#ffffff"


def main(report: str, output: str) -> None:
    """Draw the picture."""
    found = read_report(report)
    assert found.hubness is not None
    hubs = found.hubs[:_HUBS]
    picture = Image.new("RGB", (_GAP + len(hubs) * (_SIDE + _GAP), _SIDE + _TEXT + _GAP), _PAGE)
    draw, large, small = ImageDraw.Draw(picture), ImageFont.load_default(17), ImageFont.load_default(12)
    for place, hub in enumerate(hubs):
        left = _GAP + place * (_SIDE + _GAP)
        data = found.shown[hub.id].image
        assert data is not None
        item = Image.open(io.BytesIO(data)).convert("RGB")
        picture.paste(item.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), (left, _GAP))
        draw.text((left, _SIDE + _GAP + 8), f"{hub.before}, then {hub.after}", _INK, large)
        draw.text((left, _SIDE + _GAP + 32), f"top-{found.hubness.depth} lists of", _SOFT, small)
        draw.text((left, _SIDE + _GAP + 46), f"{found.hubness.queries:,} queries", _SOFT, small)
    picture.quantize(256).save(output, optimize=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
