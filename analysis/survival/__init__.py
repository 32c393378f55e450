"""Survival analysis of the time to grok: when, whether, how sure, with stopped trials weighted by the audit."""
