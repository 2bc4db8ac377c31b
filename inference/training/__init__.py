"""Training of a bundle: synthetic CT from label maps, data set, recipe, loop, calibration."""
