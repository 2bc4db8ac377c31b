"""Evaluation of a bundle on labelled cases: the study's metrics, tests, tables and figures."""
