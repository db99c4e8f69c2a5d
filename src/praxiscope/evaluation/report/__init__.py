"""Reports of runs and tests: one HTML file each, which holds everything that it shows except the videos.

The page loads nothing from the network (its content policy forbids it), runs no script, follows the reader's light or
dark setting, and fits a phone. All text from files (class names, ids, settings) is escaped.
"""

from praxiscope.evaluation.report.clips import Strip, pick_clips
from praxiscope.evaluation.report.tables import TestLink
from praxiscope.evaluation.report.write import Report, write_report

__all__ = ["Report", "Strip", "TestLink", "pick_clips", "write_report"]
