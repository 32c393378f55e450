"""One self-contained HTML file about a sweep, with its pictures and the cells of its map beside it."""

from analysis.report.page import ReportFiles, write_report

__all__ = ["ReportFiles", "write_report"]
