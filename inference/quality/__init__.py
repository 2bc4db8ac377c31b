"""The quality gate and its calibration."""
