"""Charts are whole pictures, and no name in them can draw anything of its own."""

import base64
import re
from datetime import datetime
from xml.etree import ElementTree as ET

from assets.metadata import line_chart, lines_chart, upset_chart
from segmentation.segments.overlaps import Combination

SVG = "{http://www.w3.org/2000/svg}"


def drawn(chart) -> ET.Element:
    encoded = re.fullmatch(r"!\[.*\]\(data:image/svg\+xml;base64,(.*)\)", chart.value)
    assert encoded
    return ET.fromstring(base64.b64decode(encoded[1]).decode())


def test_a_combination_is_a_bar_with_a_dot_per_segment() -> None:
    combinations = [Combination(("a", "c"), 40), Combination((), 20), Combination(("b",), 5)]
    picture = drawn(upset_chart("Who", combinations))
    bars = [float(one.attrib["height"]) for one in picture.iter(f"{SVG}rect") if one.attrib["width"] == "20"]
    assert bars == [120, 60, 15]
    dots = [(float(one.attrib["cx"]), float(one.attrib["cy"])) for one in picture.iter(f"{SVG}circle")]
    assert len(dots) == 3
    # The dots of one combination stand below each other and are joined.
    assert dots[0][0] == dots[1][0] != dots[2][0]
    assert len(list(picture.iter(f"{SVG}path"))) == 2
    width, height = float(picture.attrib["width"]), float(picture.attrib["height"])
    assert all(0 < x < width and 0 < y < height for x, y in dots)


def test_hostile_names_are_text_and_nothing_is_a_picture_too() -> None:
    picture = drawn(upset_chart("</svg><script>", [Combination(("<b>&",), 1)]))
    assert [one.tag for one in picture.iter() if one.tag.endswith(("script", "}b"))] == []
    assert "<b>&" in [one.text for one in picture.iter(f"{SVG}text")]
    assert list(drawn(upset_chart("None", [])).iter(f"{SVG}circle")) == []


def test_lines_share_one_scale_and_name_their_newest_value() -> None:
    days = [datetime(2026, 11, day) for day in (1, 2, 3)]
    lines = {"<i>high": dict(zip(days, (4.0, 8.0, 6.0), strict=True)), "low": {days[2]: 0.0}}
    picture = drawn(lines_chart("Both", lines))
    ends = [one.attrib["points"].split() for one in picture.iter(f"{SVG}polyline")]
    assert [len(points) for points in ends] == [3, 1]
    # A line that began later ends below the last moment of the other, on the same scale.
    (x, y), (x_low, y_low) = (map(float, points[-1].split(",")) for points in ends)
    assert (x, y < y_low) == (x_low, True)
    said = [one.text for one in picture.iter(f"{SVG}text")]
    assert "<i>high: 6" in said
    assert "low: 0" in said
    assert float(picture.attrib["height"]) > max(float(one.attrib["y"]) for one in picture.iter(f"{SVG}text"))
    assert len(list(drawn(line_chart("One", lines["low"])).iter(f"{SVG}polyline"))) == 1
