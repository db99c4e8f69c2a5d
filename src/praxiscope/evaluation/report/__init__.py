"""Reports of runs and tests: one HTML file each, which contains everything except the videos.

The page loads nothing from the network (its content policy forbids it), runs no script, supports light and dark mode,
and fits a phone. All text from files (class names, ids, settings) is escaped.
"""

from praxiscope.evaluation.report.clips import Strip, pick_clips
from praxiscope.evaluation.report.segments import SegmentResults
from praxiscope.evaluation.report.tables import TestLink
from praxiscope.evaluation.report.write import Report, write_report

__all__ = ["Report", "SegmentResults", "Strip", "TestLink", "pick_clips", "write_report"]
