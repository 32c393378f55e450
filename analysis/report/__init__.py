"""One self-contained HTML file about a sweep, with its pictures and the cells of its map in files beside it."""

from analysis.report.page import Report, ReportFiles, report_of, write_report

__all__ = ["Report", "ReportFiles", "report_of", "write_report"]
