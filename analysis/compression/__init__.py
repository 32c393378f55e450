"""What compression has done to networks that a sweep kept: the record of it, and the advice that follows."""
