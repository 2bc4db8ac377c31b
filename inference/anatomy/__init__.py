"""Parts of the body that a scan shows (sides, knees, lungs), and metal."""
