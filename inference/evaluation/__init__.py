"""How good a bundle is on labelled cases: the study's metrics, tests, tables and figures."""
