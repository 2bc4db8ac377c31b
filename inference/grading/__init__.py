"""The disease status of each side, by a grader that a site gives."""
