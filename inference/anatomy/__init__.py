"""What a scan shows of a body: sides, knees, lungs, metal."""
