"""One self-contained HTML file about a sweep, with its pictures and the cells of its map in files beside it."""

from analysis.report.page import ReportFiles, write_report

__all__ = ["ReportFiles", "write_report"]
