"""What one setting changes: arms of a study, pairs of one seed, and what tells validation accuracy."""
